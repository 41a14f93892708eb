// A text -> where answers may begin and end: the counterpart of qa_onnx/tokens/boundaries.py and blocks.py.
//
// All places are in UTF-16 units, as JavaScript counts, and as `text.slice` takes them.

const CLUSTERS = new Intl.Segmenter("und", { granularity: "grapheme" });

// A word is a run of letters, digits and marks, in scripts that write blanks between words. Both patterns match at
// one place, when it lies inside of a word, and give the part of the word before or after it.
const NO_WORDS =
    "\\u0e00-\\u109f\\u1100-\\u11ff\\u1780-\\u17ff\\u1950-\\u1aaf\\u1b00-\\u1b7f\\u2e80-\\ua4cf\\ua960-\\ua9ff" +
    "\\uaa60-\\uaadf\\uac00-\\ud7ff\\uf900-\\ufaff\\uff66-\\uffdc\\u{16fe0}-\\u{18d8f}\\u{1aff0}-\\u{1b2ff}" +
    "\\u{20000}-\\u{3ffff}";
const LETTER = `[[\\p{L}\\p{N}]--[${NO_WORDS}]]`;
const INSIDE = `[[\\p{L}\\p{N}\\p{M}\\u00ad\\u200c\\u200d]--[${NO_WORDS}]]`;
const PART_BEFORE = new RegExp(`(?<=(${LETTER}${INSIDE}*))(?=${INSIDE})`, "vy");
const PART_AFTER = new RegExp(`(?<=${INSIDE})(${INSIDE}*${LETTER})`, "vy");
const LONGEST_WORD = 100; // characters; a longer run of letters is no word

// The place of an answer, start and end, widened to whole words and letters, without blanks around it.
export function whole(text, start, end) {
    [start, end] = trimmed(text, start, end);
    if (start < end) {
        [start, end] = [start - partOfWord(PART_BEFORE, text, start), end + partOfWord(PART_AFTER, text, end)];
    }
    // A letter with its marks, or an emoji of several characters, is one cluster. One that holds a blank, which
    // has a mark of its own, counts as blank.
    const clusters = CLUSTERS.segment(text);
    for (let at; start < end && (at = clusters.containing(start)).index < start; ) {
        if (!/\s/.test(at.segment)) start = at.index;
        else [start, end] = trimmed(text, at.index + at.segment.length, end);
    }
    for (let at; start < end && end < text.length && (at = clusters.containing(end)).index < end; ) {
        if (!/\s/.test(at.segment)) end = at.index + at.segment.length;
        else [start, end] = trimmed(text, start, at.index);
    }
    return [start, Math.max(start, end)];
}

function trimmed(text, start, end) {
    const part = text.slice(start, end);
    return [end - part.trimStart().length, start + part.trimEnd().length];
}

function partOfWord(pattern, text, at) {
    pattern.lastIndex = at;
    const part = pattern.exec(text)?.[1] ?? "";
    return [...part].length > LONGEST_WORD ? 0 : part.length;
}

// No answer runs from one paragraph, list item or table cell into the next one. A block begins
const BORDERS = [
    /(?:\r\n|[\n\r])[ \t\f]*(?:\r\n|[\n\r])\s*/g, // after a blank line,
    /(?:^|(?<=[\n\r]))[ \t]*(?=(?:[-*+•‣◦▪–—]|\(?\d{1,3}[.)]|\(?[A-Za-z][.)])[ \t])/g, // at a bullet or number,
];
const TABLE_ROW = /(?<![^\n])[^\n\r]*(?:\t|\|[^\n\r|]*\|)[^\n\r]*(?![^\n])/g; // with a row of a table, after it,
const CELL_END = /[\t|]+/g; // and after the border of a cell.

// The number of the block that each token belongs to.
export function blocksOf({ text, ends }) {
    const endOf = (match) => match.index + match[0].length;
    const begins = BORDERS.flatMap((border) => [...text.matchAll(border)].map(endOf));
    for (const row of text.matchAll(TABLE_ROW)) {
        begins.push(row.index, endOf(row));
        begins.push(...[...row[0].matchAll(CELL_END)].map((cell) => row.index + endOf(cell)));
    }
    begins.sort((a, b) => a - b);
    let block = 0;
    return ends.map((end) => {
        while (begins[block] < end) block++;
        return block;
    });
}
