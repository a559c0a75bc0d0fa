"""Write the texts that vicinal's vectors are checked on: `make_texts.py DATA_FOLDER OUTPUT.jsonl.gz`.

Every line is `{"id", "kind", "text"}`, and for long ones `"repeat"` (the text is said that often) and `"tail"` (then
this follows): `text * repeat + tail`. Standard library only, and the same bytes on every run.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import unicodedata
from collections.abc import Iterator
from pathlib import Path

Row = dict[str, str | int]

PARAGRAPHS = 120  # of Darwin and the Brontës, spread evenly over their lengths
PARAGRAPH_CHARACTERS = 700

VOCABULARY = (
    "river stone lamp window letter garden winter bridge copper orchard market paper captain music thread mountain "
    "button harbour engine mirror carpet thunder pencil basket island valley feather kettle ladder ribbon saddle "
    "tunnel velvet whistle yellow quiet narrow bright hollow gentle crooked silver distant patient sudden wooden "
    "carries follows opens repairs forgets borrows measures paints crosses answers builds remembers hides sells "
    "the a of under beside without toward and because while every some no its their two seven forty"
)

BLANK = ["", " ", "   ", "\n", "\t", "\r\n", " \t\n ", "\u00a0", "\u3000", "\u200b", "\ufeff", "\x00", "\x07"]

CONTROL = [
    "a\x00b",
    "bell\x07 in the middle",
    "zero\u200bwidth\u200bspaces",
    "\ufeffmark at the start",
    "next\x85line",
    "line\u2028separator and paragraph\u2029separator",
    "soft\u00adhyphen and non-joiner\u200chere",
    "tab\tseparated\tcolumns\there",
    "first line\nsecond line\r\nthird line\n\n\nlast line",
    "\x1b[31mred\x1b[0m terminal colours",
    "right\u202eto left override\u202c",
    "replacement \ufffd and private \ue000 and unassigned \u0378",
    "delete\x7f and unit\x1fseparator",
    "trailing spaces      ",
    "      leading spaces",
    "many      inner      spaces",
]

SPECIAL = [
    "[SEP]",
    "[CLS] hello [PAD]",
    "[MASK]",
    "##ing",
    "</s>",
    "<s> hello </s>",
    "<pad>",
    "[UNK] and [unk]",
    "[SEP][SEP][SEP]",
    "the answer is [MASK].",
    "[PAD] [PAD] [PAD]",
    "[cls] in lower case [sep]",
    "un##happi##ness",
    "# ## ### ####",
    "<|endoftext|>",
    "[unused0] [unused1]",
    "[ SEP ] with spaces",
    "[MASK][MASK] is [MASK]",
]

WRITING = [
    "😀",
    "👩‍👩‍👧‍👦 a family",
    "🇨🇭🇯🇵🇧🇷 three flags",
    "👍🏽 and 👍 differ in skin tone",
    "🏳️‍🌈 flag, ❤️ heart, ❤ heart without a selector",
    "so happy 😂😂😂!!!",
    "1️⃣2️⃣3️⃣",
    "القطة تجلس على السجادة قرب النافذة.",
    "هل تعرف الطريق إلى المحطة؟",
    "مَرْحَبًا بِكُمْ فِي المَدِينَةِ",
    "猫坐在窗户旁边的地毯上。",
    "今天天气很好,我们去公园散步吧。",
    "漢字與简体字混合 with English words",
    "猫は窓のそばの敷物に座っています。",
    "カタカナとひらがなと漢字",
    "ﾊﾝｶｸ ｶﾀｶﾅ and ｆｕｌｌ ｗｉｄｔｈ",
    "แมวนั่งบนพรมใกล้หน้าต่าง",
    "วันนี้อากาศดีมาก เราไปเดินเล่นกันเถอะ",
    "बिल्ली खिड़की के पास कालीन पर बैठी है।",
    "आज मौसम बहुत अच्छा है।",
    "고양이가 창문 옆 양탄자에 앉아 있다.",
    "Кошка сидит на ковре у окна.",
    "Η γάτα κάθεται στο χαλί δίπλα στο παράθυρο.",
    "החתול יושב על השטיח ליד החלון.",
    "Mèo ngồi trên tấm thảm cạnh cửa sổ.",
    "বিড়ালটি জানালার পাশে গালিচায় বসে আছে।",
    "பூனை ஜன்னல் அருகே அமர்ந்திருக்கிறது.",
    "კატა ფანჯარასთან ზის.",
    "Die Straße ist groß, und GRÖSSE zählt.",
    "İstanbul'da ILIK bir gün, ışık var",
    "Ångström, naïve café, El Niño, São Tomé",
    "Æsir œuvre Łódź Đà Nẵng Þór",
    "ﬁne ﬂow of ligatures, ½ and ² and ①",
    "𝒜 𝓫 𝔠 𝟜 mathematical letters",
    "𠜎𠜱𠝹 rare characters beyond the basic plane",
    "Z̴͎͐a̷͓̐l̵̰̈g̶̣̈o̷͕͝ text",
    "«guillemets», „low quotes“, ‘single’, “double”, 『corner』",
    "em—dash, en–dash, minus−sign, hyphen‐true, tilde〜",
    "ellipsis… and three dots... and a bullet • here",
]

ACCENTED = ["Café crème brûlée", "Ελλάδα είναι όμορφη", "Việt Nam đẹp lắm", "한국어 문장", "ガギグゲゴ", "Å é ñ ü ç"]

TECHNICAL = [
    "0",
    "3.14159265358979",
    "1,234,567.89 + 0x1F = ?",
    "-40 °C equals -40 °F",
    "+41 44 123 45 67",
    "2024-02-29T23:59:60Z",
    "£5.00 is about €5.90 or ¥900 or ₹520",
    "https://example.org/a/b?c=d&e=%20f#g",
    "https://example.org/picture.png",
    "/home/user/clip.mp4",
    "mail@example.org",
    "C:\\Users\\Public\\notes.txt",
    "def add(a: int, b: int) -> int:\n    return a + b\n",
    "SELECT name, COUNT(*) FROM users WHERE age >= 18 GROUP BY name;",
    "<p class=\"x\">Hello &amp; welcome</p><script>alert('hi')</script>",
    '{"key": ["value", 1, null, true], "nested": {"a": {}}}',
    "for (int i = 0; i < n; ++i) { sum += x[i] * y[i]; }",
    "$ grep -rn 'TODO' src | sort -u > todo.txt",
    "\\frac{1}{2} \\sum_{i=1}^{n} x_i^2",
    "snake_case camelCase PascalCase kebab-case SCREAMING_CASE",
    "C2H5OH + 3 O2 → 2 CO2 + 3 H2O",
    "ACGTACGTTAGCCGATACGGATCA",
    "!?!?!?",
    "...",
    "a",
    "A",
    "I",
    "?",
    "It's John's; they've gone, we'd say 'fine'.",
    "Mr. Smith (b. 1970) lives in St. Louis, U.S.A.",
]

LONG_WORDS = [
    ("x", 99),
    ("x", 100),
    ("x", 101),
    ("ab", 200),
    ("antidisestablishmentarianism", 5),
    ("é", 120),
    ("中", 40),
]

# With the two marks that BERT adds, `repeat + 2` tokens: each side of MiniLM's limit of 256.
AT_THE_LIMIT = range(250, 260)

SENTENCE = "The river keeps its own time and no clock has taught it. "


def main() -> None:
    """Read the arguments, write the file, say what was written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder that has corpus_en/part-0.tsv.gz")
    parser.add_argument("output", type=Path, help="a .jsonl.gz file")
    arguments = parser.parse_args()
    rows = list(all_rows(arguments.data))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with gzip.GzipFile(arguments.output, "wb", mtime=0) as file:  # no time of day: the same bytes on every run
        file.write(lines.encode())
    print(f"{len(rows)} texts, {arguments.output.stat().st_size} bytes")


def all_rows(data: Path) -> Iterator[Row]:
    """Every text with its id."""
    for kind, rows in texts_by_kind(data).items():
        for number, row in enumerate(rows):
            yield {"id": f"{kind}-{number}", "kind": kind, **row}


def texts_by_kind(data: Path) -> dict[str, list[Row]]:
    """The texts, by what they are about."""
    books = paragraphs(data / "corpus_en" / "part-0.tsv.gz")
    accents = [unicodedata.normalize(form, text) for text in ACCENTED for form in ("NFC", "NFD")]
    plain = {
        "blank": BLANK,
        "control": CONTROL,
        "special": SPECIAL,
        "writing": WRITING,
        "accents": accents,
        "technical": TECHNICAL,
        "books": books,
        "generated": generated(),
        "duplicate": [books[0], WRITING[0], "", books[0]],
    }
    rows: dict[str, list[Row]] = {kind: [{"text": text} for text in texts] for kind, texts in plain.items()}
    rows["long-word"] = [{"text": text, "repeat": repeat} for text, repeat in LONG_WORDS]
    rows["limit"] = [{"text": "river ", "repeat": repeat} for repeat in AT_THE_LIMIT]
    rows["limit-tail"] = [{"text": "river ", "repeat": n - 1, "tail": "unbelievably"} for n in AT_THE_LIMIT]
    rows["long"] = [{"text": SENTENCE, "repeat": n} for n in (10, 20, 21, 22, 42, 100, 417)]  # the last: 5,004 words
    rows["long"].append({"text": "中文", "repeat": 300})
    rows["long"].append({"text": "x", "repeat": 20_000})
    return rows


def paragraphs(corpus: Path) -> list[str]:
    """`PARAGRAPHS` rows of the public-domain books, evenly spread over the lengths that occur."""
    with gzip.open(corpus, "rt", encoding="utf-8", newline="\n") as file:
        rows = (line.rstrip("\n").split("\t", 1) for line in file)
        books = sorted({text for source, text in rows if source == "book_paragraph"}, key=lambda t: (len(t), t))
    books = [text for text in books if len(text) <= PARAGRAPH_CHARACTERS]
    return [books[i * (len(books) - 1) // (PARAGRAPHS - 1)] for i in range(PARAGRAPHS)]


def generated() -> list[str]:
    """Word salads of 1 to 300 words from the list above."""
    random_numbers = random.Random(20240229)
    words = VOCABULARY.split()
    lengths = [*range(1, 33), *(int(32 * 1.16**i) for i in range(1, 16))]
    return [" ".join(random_numbers.choices(words, k=length)).capitalize() + "." for length in lengths]


if __name__ == "__main__":
    main()
