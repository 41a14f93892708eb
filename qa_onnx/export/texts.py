"""Texts for comparing models: prose of several lengths and scripts, written for this purpose.

They do not measure accuracy: there are no gold answers.
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
