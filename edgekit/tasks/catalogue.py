"""What each task takes, gives and is judged by: what `edgekit tasks` and the manual list."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit._record import Record

_TABLE = "csv, tsv, jsonl, parquet or datasets"


@dataclass(frozen=True)
class TaskEntry(Record):
    """A task, in words for a user."""

    name: str
    models: str
    inputs: str
    data: str
    metrics: tuple[str, ...]
    """The metric that judges where none is named, and then the others."""
    answer: str
    example: str


ENTRIES = (
    TaskEntry(
        "image-classification",
        "ViT, ResNet, ConvNeXt and others, modules, ONNX",
        "a picture",
        f"a folder with a folder of pictures for each class; {_TABLE} with a picture and a label",
        ("accuracy", "f1", "f1-macro", "auc"),
        "a label with its score, and the next best",
        "edgekit run out/model cat.jpg",
    ),
    TaskEntry(
        "object-detection",
        "DETR, YOLOS, RT-DETR; YOLO, NanoDet, FastestDet, SSD in ONNX",
        "a picture",
        "COCO's JSON, a folder of YOLO, a folder of Pascal VOC",
        ("map", "map50"),
        "boxes with labels and scores, drawn with --output",
        "edgekit run out/model street.jpg --output drawn.png",
    ),
    TaskEntry(
        "semantic-segmentation",
        "SegFormer, MaskFormer's kind, U-Nets as modules or ONNX",
        "a picture",
        f"a folder with images and masks; {_TABLE} with a picture and a mask",
        ("miou", "dice", "pixel-accuracy"),
        "the share of each class, the mask drawn with --output",
        "edgekit run out/model scan.png --output drawn.png",
    ),
    TaskEntry(
        "text-classification",
        "BERT, RoBERTa, DeBERTa and others, cross-encoders",
        "a text or a pair",
        f"{_TABLE} with one or two texts and a label",
        ("accuracy", "f1", "f1-macro", "auc", "spearman", "pearson"),
        "a label with its score, and the next best",
        'edgekit run out/model "What a lovely film."',
    ),
    TaskEntry(
        "token-classification",
        "BERT and others for named entities or parts of speech",
        "a text",
        "CoNLL files; jsonl, parquet or datasets with the fields tokens and tags",
        ("f1", "accuracy"),
        "entities with their place in the text",
        'edgekit run out/model "Ada Lovelace lived in London."',
    ),
    TaskEntry(
        "question-answering",
        "BERT and others with a start and an end",
        "a question and a context",
        f"SQuAD's JSON; {_TABLE} with question, context and answers",
        ("f1", "exact-match"),
        "the span of the context that answers",
        'edgekit run out/model "Who ran home?" "Peter ran home."',
    ),
    TaskEntry(
        "sentence-similarity",
        "sentence-transformers and their relatives",
        "two texts",
        f"{_TABLE} with two texts and a number",
        ("spearman", "pearson"),
        "the cosine of both embeddings",
        'edgekit run out/model "A man plays." "Someone makes music."',
    ),
    TaskEntry(
        "feature-extraction",
        "encoders of texts or pictures",
        "a text or a picture",
        f"{_TABLE}, or a folder of pictures",
        ("spearman", "pearson"),
        "an embedding",
        'edgekit run out/model "A man plays." --json',
    ),
    TaskEntry(
        "fill-mask",
        "BERT and others with a mask",
        "a text with a mask",
        f"{_TABLE} with a text",
        (),
        "the likeliest words behind each mask",
        'edgekit run out/model "Paris is the [MASK] of France."',
    ),
    TaskEntry(
        "translation",
        "Marian, mBART, M2M100, T5",
        "a text",
        f"{_TABLE} with a text and its translation",
        ("chrf", "bleu", "rouge", "exact-match"),
        "a text",
        'edgekit run out/model "Ein Hund rennt."',
    ),
    TaskEntry(
        "summarization",
        "BART, Pegasus, T5, LongT5",
        "a text",
        f"{_TABLE} with a text and its summary",
        ("chrf", "bleu", "rouge", "exact-match"),
        "a text",
        "edgekit run out/model - < article.txt",
    ),
    TaskEntry(
        "text2text-generation",
        "T5, mT5, BART and others",
        "a text",
        f"{_TABLE} with a text and the text that is wanted",
        ("chrf", "bleu", "rouge", "exact-match"),
        "a text",
        'edgekit run out/model "summarize: ..."',
    ),
    TaskEntry(
        "text-generation",
        "Llama, Qwen, Mistral, Gemma, Phi, GPT-2 and others",
        "a text or the messages of a chat",
        f"{_TABLE} with a text",
        ("chrf", "bleu", "rouge", "exact-match"),
        "the text that follows, as it is generated",
        'edgekit run out/model "Once upon a time" --max-new-tokens 80',
    ),
    TaskEntry(
        "automatic-speech-recognition",
        "Whisper; wav2vec 2.0 and its relatives with CTC",
        "a sound",
        f"{_TABLE} with a sound and its text",
        ("wer", "cer", "exact-match"),
        "the text that is spoken",
        "edgekit run out/model clip.wav",
    ),
    TaskEntry(
        "audio-classification",
        "wav2vec 2.0, AST and others",
        "a sound",
        f"a folder with a folder of sounds for each class; {_TABLE} with a sound and a label",
        ("accuracy", "f1", "f1-macro", "auc"),
        "a label with its score, and the next best",
        "edgekit run out/model clip.wav",
    ),
    TaskEntry(
        "audio-frame-classification",
        "Silero VAD and networks with states, in ONNX or as modules",
        "a sound, step by step",
        f"a folder of sounds; {_TABLE} with a sound and the times of speech",
        ("auc", "accuracy", "f1"),
        "the times at which something is heard",
        "edgekit run out/model clip.wav",
    ),
    TaskEntry(
        "image-to-text",
        "VisionEncoderDecoder: TrOCR, ViT-GPT2",
        "a picture",
        f"{_TABLE} with a picture and its text",
        ("chrf", "bleu", "rouge", "wer", "cer", "exact-match"),
        "a text",
        "edgekit run out/model line.png",
    ),
    TaskEntry(
        "tabular-classification",
        "MLPs as modules, files of scikit-learn, XGBoost, LightGBM and CatBoost, ONNX",
        "a row of numbers",
        f"{_TABLE} with a column for each number and a label; npz",
        ("auc", "accuracy", "f1", "f1-macro", "average-precision", "log-loss", "ece"),
        "a label with its score",
        """edgekit run out/model '{"age": 41, "limit": 20000}'""",
    ),
    TaskEntry(
        "tabular-regression",
        "regressors of scikit-learn, XGBoost, LightGBM and CatBoost, ONNX",
        "a row of numbers",
        f"{_TABLE} with a column for each number and the number that is wanted; npz",
        ("r2", "mae", "rmse", "spearman", "pearson"),
        "a number",
        """edgekit run out/model '{"rooms": 4, "area": 82.5}'""",
    ),
    TaskEntry(
        "tensor",
        "any graph",
        "arrays by the names of the inputs",
        "npz, or a function: package.module:function",
        (),
        "the outputs, compared with the original's",
        "edgekit run out/model feeds.npz",
    ),
)


def markdown() -> str:
    """Return the table of all tasks, as docs/tasks.md has it."""
    lines = ["| task | models | takes | data | metrics | answer |", "| --- | --- | --- | --- | --- | --- |"]
    for entry in ENTRIES:
        cells = (
            f"`{entry.name}`",
            entry.models,
            entry.inputs,
            entry.data,
            ", ".join(entry.metrics) or "-",
            entry.answer,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
