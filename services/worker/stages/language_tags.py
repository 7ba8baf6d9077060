"""Language codes for containers: ISO 639-2, which Matroska and MP4 tracks carry.

Lives here: the table. Does not live here: which languages can be dubbed (the engines say).
"""

UNDETERMINED = "und"

_LANGUAGES = {
    "af": ("afr", "Afrikaans"), "am": ("amh", "Amharic"), "ar": ("ara", "Arabic"), "as": ("asm", "Assamese"),
    "az": ("aze", "Azerbaijani"), "ba": ("bak", "Bashkir"), "be": ("bel", "Belarusian"), "bg": ("bul", "Bulgarian"),
    "bn": ("ben", "Bengali"), "bo": ("bod", "Tibetan"), "br": ("bre", "Breton"), "bs": ("bos", "Bosnian"),
    "ca": ("cat", "Catalan"), "cs": ("ces", "Czech"), "cy": ("cym", "Welsh"), "da": ("dan", "Danish"),
    "de": ("deu", "German"), "el": ("ell", "Greek"), "en": ("eng", "English"), "eo": ("epo", "Esperanto"),
    "es": ("spa", "Spanish"), "et": ("est", "Estonian"), "eu": ("eus", "Basque"), "fa": ("fas", "Persian"),
    "fi": ("fin", "Finnish"), "fo": ("fao", "Faroese"), "fr": ("fra", "French"), "ga": ("gle", "Irish"),
    "gl": ("glg", "Galician"), "gu": ("guj", "Gujarati"), "ha": ("hau", "Hausa"), "he": ("heb", "Hebrew"),
    "hi": ("hin", "Hindi"), "hr": ("hrv", "Croatian"), "ht": ("hat", "Haitian Creole"), "hu": ("hun", "Hungarian"),
    "hy": ("hye", "Armenian"), "id": ("ind", "Indonesian"), "ig": ("ibo", "Igbo"), "is": ("isl", "Icelandic"),
    "it": ("ita", "Italian"), "ja": ("jpn", "Japanese"), "jv": ("jav", "Javanese"), "ka": ("kat", "Georgian"),
    "kk": ("kaz", "Kazakh"), "km": ("khm", "Khmer"), "kn": ("kan", "Kannada"), "ko": ("kor", "Korean"),
    "ku": ("kur", "Kurdish"), "ky": ("kir", "Kyrgyz"), "la": ("lat", "Latin"), "lb": ("ltz", "Luxembourgish"),
    "ln": ("lin", "Lingala"), "lo": ("lao", "Lao"), "lt": ("lit", "Lithuanian"), "lv": ("lav", "Latvian"),
    "mg": ("mlg", "Malagasy"), "mi": ("mri", "Maori"), "mk": ("mkd", "Macedonian"), "ml": ("mal", "Malayalam"),
    "mn": ("mon", "Mongolian"), "mr": ("mar", "Marathi"), "ms": ("msa", "Malay"), "mt": ("mlt", "Maltese"),
    "my": ("mya", "Burmese"), "nb": ("nob", "Norwegian Bokmål"), "ne": ("nep", "Nepali"), "nl": ("nld", "Dutch"),
    "nn": ("nno", "Norwegian Nynorsk"), "no": ("nor", "Norwegian"), "oc": ("oci", "Occitan"),
    "pa": ("pan", "Punjabi"), "pl": ("pol", "Polish"), "ps": ("pus", "Pashto"), "pt": ("por", "Portuguese"),
    "ro": ("ron", "Romanian"), "ru": ("rus", "Russian"), "rw": ("kin", "Kinyarwanda"), "sa": ("san", "Sanskrit"),
    "sd": ("snd", "Sindhi"), "si": ("sin", "Sinhala"), "sk": ("slk", "Slovak"), "sl": ("slv", "Slovenian"),
    "sn": ("sna", "Shona"), "so": ("som", "Somali"), "sq": ("sqi", "Albanian"), "sr": ("srp", "Serbian"),
    "su": ("sun", "Sundanese"), "sv": ("swe", "Swedish"), "sw": ("swa", "Swahili"), "ta": ("tam", "Tamil"),
    "te": ("tel", "Telugu"), "tg": ("tgk", "Tajik"), "th": ("tha", "Thai"), "tk": ("tuk", "Turkmen"),
    "tl": ("tgl", "Tagalog"), "tr": ("tur", "Turkish"), "tt": ("tat", "Tatar"), "uk": ("ukr", "Ukrainian"),
    "ur": ("urd", "Urdu"), "uz": ("uzb", "Uzbek"), "vi": ("vie", "Vietnamese"), "xh": ("xho", "Xhosa"),
    "yi": ("yid", "Yiddish"), "yo": ("yor", "Yoruba"), "zh": ("zho", "Chinese"), "zu": ("zul", "Zulu"),
    "yue": ("zho", "Cantonese"), "haw": ("haw", "Hawaiian"), "jw": ("jav", "Javanese"),
}  # fmt: skip
"""BCP 47 primary subtag -> ISO 639-2/T code and English name, of the languages that recognisers and translators know.

Whisper's `yue` and `jw` have no 639-2 code of their own: they get the macrolanguage's, and the current one.
"""


def iso_639_2(language: str) -> str:
    """Return the terminological ISO 639-2 code of a BCP 47 tag; `und` for one that has none or is unknown.

    A three-letter subtag that is not in the table is already such a code (`fil`, `ast`).
    """
    primary = language.partition("-")[0].lower()
    if primary in _LANGUAGES:
        return _LANGUAGES[primary][0]
    return primary if len(primary) == len(UNDETERMINED) and primary.isalpha() and primary.isascii() else UNDETERMINED


def english_name(language: str) -> str:
    """Return the language's name for a track title; the tag itself for an unknown one."""
    return _LANGUAGES.get(language.partition("-")[0].lower(), ("", language))[1]
