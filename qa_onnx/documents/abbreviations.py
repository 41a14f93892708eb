"""Words with a full stop that ends no sentence, and words that begin one: for sentences.py.

All are written small, without their last full stop, and in one set for all languages, since a text does not say
which it is in. Left out: what is a common word as well ("art", "sat"), unless a number follows.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# A name, an example or a number follows.
NEVER_LAST = _words(
    """
    dr mr mrs ms mx prof rev hon gen col maj capt lt sgt cpl cmdr adm gov sen rep pres supt amb insp
    messrs mme mlle st ste mt ft hr fr frl dipl ing med mag dres sr sra srta dña vs cf viz e.g i.e
    eg ie approx ca circa resp incl excl z.b d.h u.a i.d.r o.ä v.a s.o s.u z.t vgl bzw ggf evtl inkl
    exkl zzgl abzgl sog geb gest insb mind p.ex c.-à-d av bd boul env p.ej ej ул им гр пр т.е см стр
    рис
    """
)

# A number, or a letter that counts, follows; "No. He left." is a sentence.
NUMBERED = _words(
    """
    no nos nr nrn n núm num art arts artt abs abschn ziff par para paras sec secs sect ch chap kap
    cap ver vers v vol vols bd fig figs abb tab tbl eq eqs gl p pp pg pgs s seite l ll ln anm fn app
    anh ann annex reg exh item cl tel ext rn rz § jan feb mar apr jun jul aug sep sept oct nov dec
    okt dez janv févr juil déc
    """
)

# They end a sentence where a word of the next set follows.
OFTEN_LAST = _words(
    """
    inc ltd co corp bros plc llc jr esq ph.d dept univ assn ave blvd rd
    """
)

STARTERS = _words(
    """
    the a an he she it they we you i this that these those there here in on at by for from with when
    while if as but and or so then his her its their our my your however no yes not to after before
    since because what who where why how all some many most both each every under until although
    though once such please der die das ein eine einen er sie es wir ihr ich im am an auf bei mit
    von nach wenn als aber und oder dann dies diese dieser dieses zu um für seit wer was wo le la
    les un une il elle ils elles nous vous je ce cette ces dans en sur pour avec mais et ou puis si
    el los las una ella ellos este esta
    """
)

# "am 3. Mai", "im 19. Jahrhundert": a number with a full stop counts these.
ORDINAL_NOUNS = _words(
    """
    januar jänner februar märz april mai juni juli august september oktober november dezember jan
    feb mär apr jun jul aug sept sep okt nov dez jahrhundert jh jahrhunderts lebensjahr tag woche
    monat jahr quartal klasse kapitel auflage stock geburtstag platz bundesliga weltkrieg weltkriegs
    monats tages jahres kalendertag werktag
    """
)
