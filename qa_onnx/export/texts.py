"""Texts for comparing models: prose of several lengths and scripts, written for this purpose.

They do not measure accuracy: there are no gold answers. `TOKENIZER_TEXTS` are for comparing tokenizers: what these
normalize, split or do not know in different ways.
"""

from __future__ import annotations

from qa_onnx.windows import Example

_BRIDGE = (
    "The footbridge over the Aller was opened in May 1987, eleven months later than planned. It is 142 metres "
    "long and hangs from a single steel mast on the western bank, so that barges never meet a pillar in the "
    "river. The engineer Marta Lindqvist had first proposed two masts, but the harbour office refused because "
    "the eastern bank is made of soft clay. On opening day about 9,000 people walked across, and the deck "
    "swayed by almost four centimetres; dampers were added during the following winter and the bridge has been "
    "quiet ever since."
)
_SOUP = (
    "To make the lentil soup, rinse 300 grams of red lentils until the water runs clear. Fry one onion and two "
    "carrots in olive oil for ten minutes, then add cumin, a bay leaf and the lentils. Pour in a litre of stock "
    "and let everything simmer for twenty-five minutes. Lemon juice goes in at the very end, because acid keeps "
    "lentils hard if it is added too early. The soup keeps for three days in the refrigerator and tastes better "
    "on the second one."
)
_OWL = (
    "Barn owls hunt by sound. The left ear sits higher in the skull than the right one, and the small delay "
    "between the two tells the bird how far below it a mouse is moving. Their flight feathers end in a soft "
    "fringe that breaks up turbulence, which is why a hunting owl can hardly be heard. A pair with chicks "
    "catches more than a dozen voles in a night. In cold winters with deep snow many of them starve, since the "
    "prey stays hidden under the snow for weeks."
)
_LIBRARY = (
    "The town library lends tools as well as books. Since 2016 anyone with a card may borrow a drill, a tile "
    "cutter or a sewing machine for one week, free of charge. Renewals cost one euro. The most wanted object is "
    "a projector, which is booked until the end of June. Librarian Owen Castellan says that fewer than two in a "
    "hundred tools come back broken, and that volunteers of the repair café mend most of those on the first "
    "Saturday of the month."
)
_UNICODE = (
    "Zoë’s café in Kraków – “Żółty Słoń” – sells crème brûlée 🍮 for 18 zł. 東京の支店は2019年に開店しました。"
    " На стене висит карта мира. The third shop, in Tel Aviv, is called קפה צהוב, and its "
    "menu lists the price of tea ☕️ as 12 ₪. Nai\u0308ve spelling with combining marks is welcome."
)
_LONG = "\n\n".join((_BRIDGE, _SOUP, _OWL, _LIBRARY, _UNICODE))

PARITY_EXAMPLES = (
    Example("Where?", "Here."),
    Example("Who proposed two masts?", _BRIDGE.split(";", maxsplit=1)[0]),
    Example("How long does the soup simmer, and when is the lemon juice added?", _SOUP),
    Example("Why can a hunting owl hardly be heard?", _OWL),
    Example("What does the crème brûlée cost?", _UNICODE),
    Example("What is the most wanted object in the library?", _LONG),
    Example("In which year did the shop in 東京 open?", _LONG),
    Example("What is the capital of Australia?", " ".join((_LIBRARY, _OWL))),
    Example("Is there anything?", ""),
)

GOLDEN_EXAMPLES = (
    Example("How long is the footbridge?", _BRIDGE),
    Example("When did the café in 東京 open?", _UNICODE),
    Example("What colour is the door?", "The door is green."),
)

ENGLISH_TEXTS = (_BRIDGE, _SOUP, _OWL, _LIBRARY)

TOKENIZER_TEXTS = (
    *ENGLISH_TEXTS,
    _UNICODE,
    "Rain fell on Sunday, and the ferry didn't leave; we'd have been late anyway (it's a two-hour trip).",
    "THE SIGN READ: NO ENTRY! iPhone, McDonald, LaTeX and eBay keep their odd capitals.",
    "AT&T paid $1,234.50 (or €1.234,50) for 3½ tons at ½ price… that is 50\u00a0%, № 7, x² + y³.",
    "1,000,000 2026-11-28 12:34:56.789 +49\u00a030\u00a01234567 0x1F4A9 1e-9 3.14159 IVⅢ ①② １２３",
    'def f(x: int) -> str:\n\treturn f"{x!r:>8}"  # a_b.c[0] != \\d+\\.\\w*\r\n',
    "https://example.org/a-b_c?q=1&r=%20#top someone+tag@example.org C:\\temp\\new.txt ~/.cache",
    "  two  spaces,\ttabs,\n\nnewlines\u2003em space\u3000ideographic\u200bzero width\u00adsoft "
    "hyphen\ufeffmark  ",
    "control \u0000\u0001\u0007\u001b\u007f\u0085 characters \u2028 and \u2029 separators, � "
    "replacement, \ue000 private",
    "naïve résumé Ångström, decomposed nai\u0308ve re\u0301sume\u0301 A\u030angstro\u0308m, "
    "ẛE\u0323\u0302 ﬁne ﬃ Ĳ ǆ",
    "“quoted” ‘single’ «guillemets» „low” ``tex'' -- – — ― − · • § ¶ † ™ ® ©",
    "Straße STRASSE ẞ İstanbul ışık Σίσυφος ΟΔΟΣ ǅ ŉ",
    "Šarūnas Čapek Łódź Őrség Ștefan Ţepeş Øystein Þór Ð ə ŋ",
    "На стене висит карта, ёлка и йод; Її Є Ґ Ђ Ћ ә",
    "Το πλοίο έφτασε στο λιμάνι ἄνθρωπος",
    "وصلت السفينة في ١٢ مايو، ك\u0650ت\u064eاب\u064c لا ﻻ کتاب",
    'הספינה הגיעה ב\u05b0\u05bcר\u05b5אש\u05b4\u05c1ית צה"ל',
    "पुल 1987 में खुला। क\u094dषेत\u094dर বাংলা தமிழ\u0bcd తెలుగు",
    "สะพานเปิดในปี ฯ ທວຍ မြန\u103aမာ ខ\u17d2មែរ",
    "橋は一九八七年に開通した。カタカナ、ｶﾞ、か\u3099、㌍、ＡＢＣ！",
    "大桥于1987年5月通车，长142米。臺灣、𠮷野家、\uf900",
    "다리는 1987년에 열렸다. 다리 앵",
    "ጨዋታ კარი Գիրք བ\u0f7cད ᏣᎳᎩ ᠤ Ⰰ 𐌰 𞤀",
    "🍮 ☕️ 👩\u200d🔬 👍\U0001f3fd 🇳🇱 🏴\U000e0067\U000e0062\U000e007f 1️\u20e3 :-) ❤ → ∞ ≈ ∫",
    "𝔸𝓐𝟙 Ⓐ ㈱ ㎡ ℃ \u212b \u2126 ﷺ ำ \u0345\u0301 "
    "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d͏\u0334\u0319\u0324\u031ealgo",
    "Donaudampfschifffahrtsgesellschaftskapitänsmütze " + "antidisestablishmentarianism" * 8 + " " + "x" * 150,
    "[CLS] [SEP] [UNK] [PAD] [MASK] <s> </s> <unk> <pad> <mask> <|endoftext|> ▁ ## ##ing @@ Ġ",
    "▁leading▁marks and _underscores_ *stars* <b>tags</b> &amp; {braces} ~tildes~ ^carets^ |pipes|",
    "a",
    " ",
    "",
    ".",
    "é",
    "e\u0301",
    "大",
    "🍮",
    "A\u00a0B",
    "x\u200dy",
    "1.5",
    "don't",
    "...",
    "\n",
)
