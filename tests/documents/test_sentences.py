"""Sentences: everyday texts split by hand, and what holds for any text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qa_onnx.documents.sentences import borders, sentences

# A ¦ stands where one sentence ends and the next begins; it is not part of the text.
CASES = {
    # Titles, initials, acronyms, companies
    "titles": "Dr. Smith met Mrs. Jones and Prof. Lee.¦ They left.",
    "initials": "J. K. Rowling wrote it.¦ J.R.R. Tolkien did not.",
    "initial at a line's beginning": "Then the president of the United States was George\nW. Bush.¦ He left.",
    "initial at the end": "We chose plan B.¦ The others agreed.",
    "country, end": "He moved to the U.S.¦ He liked it.",
    "country, inside": "He joined the U.S. Army in May.¦ It was cold.",
    "country, lower": "The U.S. economy grew.",
    "company, end": "She works at Acme Inc.¦ She likes it.",
    "company, inside": "Acme Inc. Holdings pays.¦ Nobody else does.",
    "company, listed": "Acme Inc. (NYSE: ACM) rose.",
    "times": "We open at 9 a.m. and close at 5 p.m.¦ On Sundays we are closed.",
    "i.e.": "Use it daily, i.e. once every morning.¦ Do not use more.",
    "e.g.": "Take fruit, e.g. Apples from Kent.¦ Eat them.",
    "vs.": "It is Smith vs. Jones.¦ Nobody won.",
    "Roe v. Wade": "Roe v. Wade was decided in 1973.¦ Much followed.",
    "etc. inside": "Pens, paper, etc. are supplied.¦ Bring nothing.",
    "etc. at the end": "We sell pens, paper, etc.¦ Prices are below.",
    "saint": "The church of St. Paul stands on Main St. in the town.",
    "degree": "She holds a Ph.D. in physics.¦ She teaches.",
    # Numbers and dates
    "number of a house": "Go to No. 5 first.¦ Then turn left.",
    "no as an answer": "Did he say no?¦ No.¦ He said nothing.",
    "article": "See Art. 3 of the contract.¦ It binds both.",
    "decimals": "It costs 3.50 euros.¦ The rest costs 0.99.",
    "a year at the end": "It was built in 1999.¦ The owner sold it.",
    "dates": "It ends on 12.03.2024.¦ No notice is needed.",
    "versions": "Install version 3.11.2 first.¦ Then run setup.py again.",
    "percent": "Rates rose by 4.5 %.¦ Wages did not.",
    "page": "See p. 12 and pp. 14-16 for more.¦ Figures follow.",
    "figure": "As Fig. 2 shows, it grows.¦ Fig. 3 shows less.",
    # Stops of other kinds
    "question and exclamation": "Really?!¦ Yes!¦ Are you sure?¦ I am.",
    "ellipsis, end": "She waited...¦ Nobody came.",
    "ellipsis, inside": "She waited... and waited… until noon.",
    "ellipsis character": "Well…¦ Perhaps not.",
    "a name with a mark": "Yahoo! announced it.¦ Who knew?",
    "lower camel": "I bought it there.¦ iPhones are dear.",
    "brackets": "He left (see page 3).¦ (Nobody saw him.)¦ She stayed.",
    "footnotes": "The tower is old.[12]¦ It was built in 1820.²¦ It leans.",
    # Dialogue
    "quote, end": 'He said: "Come here."¦ She came.',
    "quote, speaker": '"Come here!" he said.¦ "Why?" she asked.',
    "curly quotes": "“I am late.”¦ “So am I.”",
    "single quotes": "'No,' he said. 'Never.'¦ Nobody spoke.".replace(" 'Never", "¦ 'Never"),
    "quote that goes on": "“Stop!” cried the man.¦ “I will not.”",
    # Addresses of the web, e-mail, files
    "link": "See https://example.org/a.b?c=d.html for more.¦ Or call.",
    "link at the end": "It is at www.example.org.¦ Read it.",
    "mail": "Write to j.doe@mail.example.com today.¦ Or tomorrow.",
    "file": "Open report.final.pdf and readme.txt now.¦ Close them.",
    # Contracts, leaflets, e-mails, tables
    "numbered clauses": "1. Scope of the contract¦\n2. Term\u0020¦\n2.1 The term is a year.¦\n2.2 It goes on.",
    "letters": "The tenant shall¦\n(a) pay the rent;¦\n(b) keep the garden.",
    "bullets": "Bring:¦\n- a pen¦\n- paper¦\n* a ruler¦\n• an eraser",
    "wrapped prose": "The tenant pays the rent in advance on the first day of every\nmonth to the account that "
    "the Landlord names. ¦The\nLandlord may change the account with a notice of one month.",
    "wrapped before a name": "This agreement is made between the owner of the house and\nJohn Smith of London, "
    "who will live there for two years.",
    "heading": "Side effects¦\nLike all medicines, this one can have effects, although not everybody\ngets them.",
    "heading of markdown": "# How to take it¦\nTake one tablet a day.¦ Do not chew it.",
    "salutation": "Dear Mr. Brown,\nThank you for your letter.¦ We agree.¦\nKind regards,\nAnna Bell",
    "headers of a mail": "From: Anna¦\nTo: Bob¦\nSubject: Rent¦\nThe rent is late.",
    "address": "Anna Bell¦\n12 High Street¦\nLondon",
    "quoted mail": "I agree.¦\n> Do you agree to pay\n> the rent in May?¦\nYes.",
    "table with tabs": "Item\tPrice¦\nPen\t1.20¦\nPaper\t3.40",
    "table with bars": "| Item | Price |¦\n| Pen | 1.20 |",
    "table with columns": "Rent      500¦\nHeating   80",
    "rows of a table": "name: Ana Ruiz, office: 2.¦\nname: Jonas Berg, office: 3.¦\noffice: 4.¦\n"
    "first day: 3. Mai, office: 5, note: who comes, e.g. on Mondays.",
    "long rows": f"name: Ana, note: {'so ' * 300}on.¦\nname: Jo, note: {'so ' * 300}on.",
    "wrapped prose with colons": "The tenant has two duties: to pay, and to keep the rooms, the stairs, etc.\n"
    "as follows: clean and dry.",
    "windows line ends": "Dose¦\r\nTake two tablets.¦\r\nDrink water.",
    "paragraphs": "One line¦\n\nanother line¦\n \t\nthird line",
    "pages": "The end of page one¦\fthe top of page two.",
    # German
    "German abbreviations": "Das gilt z. B. für Hunde, d. h. für Tiere.¦ Katzen sind frei.",
    "German short ones": "Die Miete ist ca. 500 Euro inkl. Heizung, vgl. Nr. 7 und Abs. 2 Satz 1.¦ Das ist viel.",
    "German ordinals": "Der Vertrag beginnt am 3. Mai und endet im 21. Jahrhundert.¦ So ist das.",
    "German quotes": "Er sagte: „Komm her.“¦ Sie kam.¦ „Nein!“, rief er.",
    "German guillemets": "Er ging.¦ »Komm!« rief sie.¦ »Gut.«",
    "German doctor": "Fragen Sie Dr. med. Weber.¦ Er hilft.",
    # French, Spanish
    "French quotes": "« Bonjour ! » dit-il.¦ « Où vas-tu ? »¦ Il partit.",
    "French abbreviations": "M. Dupont arrive, p. ex. demain.¦ Mme. Dupont reste.",
    "Spanish": "¿Quién es?¦ ¡Nadie!¦ La Sra. López llegó.",
    # Chinese, Japanese, Hindi, Arabic, Urdu, Armenian, Amharic
    "Chinese": "今天天气很好。¦我们去公园吧！¦你去吗？¦价格是3.5元。",
    "Chinese quote": "他说：“我来了。”¦\n她笑了。",
    "Chinese brackets": "（见第三页。）¦合同有效。",
    "Japanese": "契約は一年です。¦更新できます。",
    "Japanese quote": "「はい。」と言った。¦「いいえ。」¦ 彼は帰った。",
    "Chinese clauses": "第一条 租金每月支付。¦\n第二条 押金不退。",
    "Hindi": "यह पहला वाक्य है।¦ यह दूसरा है।¦ क्या आप हैं?",
    "Arabic": "هل أنت هنا؟¦ نعم.¦ أنا هنا!",
    "Urdu": "یہ پہلا جملہ ہے۔¦ یہ دوسرا ہے۔",
    "Armenian": "Սա առաջինն է։¦ Սա երկրորդն է։",
    "Amharic": "ይህ የመጀመሪያው ነው።¦ ይህ ሁለተኛው ነው።",
    "Russian": "Он жил на ул. Пушкина.¦ Потом уехал.",
    "Greek": "Ήρθε χθες.¦ Έφυγε σήμερα.",
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_text_is_split_as_a_reader_would(case: str) -> None:
    text = case.replace("¦", "")
    assert [text[start:end] for start, end in sentences(text)] == [part.strip() for part in case.split("¦")]


PIECES = [
    *"aB3 .!?…。\n\r\t\f)(\"'»«-,:|>#१क่中あ\u0301",
    "\n\n",
    "...",
    "Dr.",
    "U.S.",
    "No. 5",
    " The ",
    "1. ",
    "\r\n",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text(max_size=80)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_sentences_are_ordered_and_hold_all_but_white_space(text: str) -> None:
    at = 0
    for start, end in sentences(text):
        assert at <= start < end
        assert not text[at:start].strip()
        assert text[start:end] == text[start:end].strip()
        at = end
    assert not text[at:].strip()


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.integers(0, 80), st.integers(0, 80))
def test_borders_of_a_range_that_begins_at_one_are_those_of_the_text(text: str, low: int, high: int) -> None:
    low, high = min(low, len(text)), min(high, len(text))
    whole = set(borders(text, 0, len(text)))
    begin = max([border for border in whole if border <= low], default=0)
    assert [border for border in borders(text, begin, high) if border > begin] == sorted(
        border for border in whole if begin < border <= high
    )


@pytest.mark.parametrize("text", ["." * 300_000, '."' * 150_000, ".[1]" * 80_000, "a" * 300_000, "\n" * 100_000])
def test_hostile_texts_are_split_in_linear_work(text: str) -> None:
    assert sum(1 for _ in sentences(text)) <= 1
