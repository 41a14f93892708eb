// Question and context -> tokens with their places in the text -> windows.
//
// The counterpart of qa_onnx/windows.py and qa_onnx/tokens/. The package gives tokens without their places, so
// text is normalized here one character at a time, and every normalized character remembers where it came from.
// That is what the Rust library does, too: the final sigma, for one, is a plain sigma there.

import { Tokenizer } from "./vendor/tokenizers.min.mjs";

// Ideographs beyond 16 bits. Each is a word of its own for BERT, but the package overlooks these.
const RARE_IDEOGRAPH = /[\u{20000}-\u{2a6df}\u{2a700}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/u;

export class Windower {
    // tokenizer: the content of a tokenizer.json. clsId: the token whose logits score "no answer".
    constructor(tokenizer, clsId) {
        if (tokenizer.model.type !== "WordPiece") {
            throw new Error(`the tokenizer is of the kind ${tokenizer.model.type}; this example reads WordPiece`);
        }
        this.parts = new Tokenizer(tokenizer, {});
        this.prefix = tokenizer.model.continuing_subword_prefix; // "##": the token continues a word
        this.continued = tokenizer.normalizer?.handle_chinese_chars;

        // Which special tokens stand where is learned from a pair: [CLS] question [SEP] context [SEP].
        const { tokens, token_type_ids: types } = this.parts.post_processor.post_process(["\0q"], ["\0c"]);
        const question = tokens.indexOf("\0q"), context = tokens.indexOf("\0c");
        const idsOf = (names) => names.map((name) => this.parts.token_to_id(name));
        this.before = idsOf(tokens.slice(0, question));
        this.between = idsOf(tokens.slice(question + 1, context));
        this.after = idsOf(tokens.slice(context + 1));
        this.types = [types[0], types[question], types[question + 1], types[context], types.at(-1)];
        this.cls = Math.max(0, this.before.indexOf(clsId));
    }

    // The tokens of a text: ids, and where each starts and ends, in UTF-16 units. "[SEP]" in a text is text.
    encode(text) {
        let normalized = "", at = 0;
        const from = [], to = []; // for each unit of `normalized`: the character of the text that it is made of
        for (const character of text) { // by code points
            const wide = this.continued && RARE_IDEOGRAPH.test(character);
            const made = this.parts.normalizer?.(wide ? ` ${character} ` : character) ?? character;
            for (let unit = 0; unit < made.length; unit++) {
                from.push(at);
                to.push(at + character.length);
            }
            normalized += made;
            at += character.length;
        }

        const tokens = { text, ids: [], starts: [], ends: [] };
        let begin = 0;
        for (const word of this.parts.pre_tokenizer.pre_tokenize_text(normalized)) {
            begin = normalized.indexOf(word, begin);
            const wordEnd = begin + word.length;
            for (const [index, token] of this.parts.model([word]).entries()) {
                const length = token.length - (index && token.startsWith(this.prefix) ? this.prefix.length : 0);
                const end = token === this.parts.model.unk_token ? wordEnd : begin + length;
                tokens.ids.push(this.parts.token_to_id(token));
                tokens.starts.push(from[begin]);
                tokens.ends.push(to[end - 1]);
                begin = end;
            }
        }
        return tokens;
    }

    // The windows of an example, in the order of the text. Each says which of its tokens are of the context, from
    // `first` to `last`, inclusive, and which token of the context is the first of them.
    cut(question, context, { maxLength, docStride, maxQuestionLength }) {
        const asked = this.encode(question).ids.slice(0, maxQuestionLength);
        const room = maxLength - asked.length - this.before.length - this.between.length - this.after.length;
        if (room <= docStride) {
            throw new Error(`${room} tokens of context a window; it must be more than docStride ${docStride}`);
        }
        const first = this.before.length + asked.length + this.between.length;
        const windows = [];
        let start = 0;
        do { // an empty context has a window too: its [CLS] scores "no answer"
            const part = context.ids.slice(start, start + room);
            const pieces = [this.before, asked, this.between, part, this.after];
            const types = pieces.flatMap((piece, index) => piece.map(() => this.types[index]));
            const last = first + part.length - 1;
            windows.push({ ids: pieces.flat(), types, first, last, cls: this.cls, offset: start });
            start += room - docStride; // neighbours share docStride tokens
        } while (start + docStride < context.ids.length);
        return windows;
    }
}
