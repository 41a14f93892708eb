// The logits of all windows of a context -> its answer: the counterpart of spans.py, groups.py and answers.py.
//
// The span from token i to token j has the score S_i + E_j: start logit + end logit. It lies in one block of the
// context, does not end before it starts, and has at most D tokens. With N tokens that is N x D spans, which are
// few enough to look at each; the Python package shows how to do with less work.

import { blocksOf, whole } from "./boundaries.mjs";

// rows: one for each window, { window, start, end }, with the logits of its tokens.
// manifest: what bundle.json says of the temperature and the null threshold.
export function findAnswer(context, rows, { maxAnswerLength }, manifest) {
    const { text, ids: { length }, starts, ends } = context, blocks = blocksOf(context);

    // The score of each span of the context, at first x D + tokens - 1. Where two windows show it: the better one.
    const width = Math.min(maxAnswerLength, length);
    const scores = new Float64Array(length * width).fill(-Infinity);
    let nullScore = Infinity; // of "no answer": the lowest of the windows' sums at [CLS]
    for (const { window, start, end } of rows) {
        nullScore = Math.min(nullScore, start[window.cls] + end[window.cls]);
        const shift = window.offset - window.first; // position in the window -> token of the context
        for (let i = window.first; i <= window.last; i++) {
            for (let j = i; j <= window.last && j < i + width; j++) {
                if (blocks[j + shift] !== blocks[i + shift]) break;
                const place = (i + shift) * width + (j - i);
                scores[place] = Math.max(scores[place], start[i] + end[j]);
            }
        }
    }

    // The best span; of equal ones the first, and of those the shortest. Blanks alone are no answer.
    let best = { score: -Infinity };
    for (const [place, score] of scores.entries()) {
        if (score > best.score) {
            const first = Math.floor(place / width), last = first + (place % width);
            const [start, end] = whole(text, starts[first], ends[last]);
            if (start < end) best = { score, start, end, first, last };
        }
    }

    // A probability is a share of all spans and "no answer", as a softmax has it. The answer's own share is that
    // of all spans that share a token with it, or with the words that it was widened to.
    const { temperature, null_threshold: threshold } = manifest;
    const highest = Math.max(best.score, nullScore);
    const weight = (score) => Math.exp((score - highest) / (temperature ?? 1));
    const overlap = overlapOf(best, context);
    let all = weight(nullScore), own = 0;
    for (const [place, score] of scores.entries()) {
        const first = Math.floor(place / width), last = first + (place % width);
        all += weight(score);
        if (first <= overlap.last && last >= overlap.first) own += weight(score);
    }

    const none = best.score === -Infinity || (threshold != null && nullScore - best.score > threshold);
    const { start, end, score } = none ? { start: 0, end: 0, score: nullScore } : best;
    const probability = (none ? weight(nullScore) : own) / all;
    const characters = [characterAt(text, start), characterAt(text, end)];
    return { text: text.slice(start, end), start, end, characters, score, probability, nullScore };
}

// The first and the last token that touch an answer.
function overlapOf({ first, last, start, end }, { starts, ends }) {
    while (ends[first - 1] > start) first--;
    while (starts[last + 1] < end) last++;
    return { first, last };
}

// JavaScript counts UTF-16 units, of which an emoji has two; Python, and so qa-onnx, counts characters.
function characterAt(text, unit) {
    return [...text.slice(0, unit)].length;
}
