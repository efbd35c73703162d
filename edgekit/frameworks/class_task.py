"""The task of a transformers class, read from the tables in which transformers lists its classes by task."""

from __future__ import annotations

ENCODER = "feature-extraction"

_HEADS = {
    "SEQUENCE_CLASSIFICATION": "text-classification",
    "IMAGE_CLASSIFICATION": "image-classification",
    "AUDIO_CLASSIFICATION": "audio-classification",
    "TOKEN_CLASSIFICATION": "token-classification",
    "QUESTION_ANSWERING": "question-answering",
    "MULTIPLE_CHOICE": "multiple-choice",
    "OBJECT_DETECTION": "object-detection",
    "SEMANTIC_SEGMENTATION": "semantic-segmentation",
    "UNIVERSAL_SEGMENTATION": "image-segmentation",
    "INSTANCE_SEGMENTATION": "image-segmentation",
    "IMAGE_SEGMENTATION": "image-segmentation",
    "DEPTH_ESTIMATION": "depth-estimation",
    "ZERO_SHOT_IMAGE_CLASSIFICATION": "zero-shot-image-classification",
    "ZERO_SHOT_OBJECT_DETECTION": "zero-shot-object-detection",
    "MASK_GENERATION": "mask-generation",
    "KEYPOINT_DETECTION": "keypoint-detection",
    "IMAGE_TO_IMAGE": "image-to-image",
    "AUDIO_FRAME_CLASSIFICATION": "audio-frame-classification",
    "AUDIO_XVECTOR": "audio-xvector",
    "DOCUMENT_QUESTION_ANSWERING": "document-question-answering",
    "VISUAL_QUESTION_ANSWERING": "visual-question-answering",
    # What generates comes before fill-mask, which lists BART and its kind as well.
    "SEQ_TO_SEQ_CAUSAL_LM": "text2text-generation",
    "SPEECH_SEQ_2_SEQ": "automatic-speech-recognition",
    "VISION_2_SEQ": "image-to-text",
    "IMAGE_TEXT_TO_TEXT": "image-text-to-text",
    "TEXT_TO_SPECTROGRAM": "text-to-audio",
    "TEXT_TO_WAVEFORM": "text-to-audio",
    "CTC": "automatic-speech-recognition",
    "MASKED_LM": "fill-mask",
    "CAUSAL_LM": "text-generation",
    "MASKED_IMAGE_MODELING": "masked-im",
    "TIME_SERIES_PREDICTION": "time-series-forecasting",
}
"""transformers' tables (MODEL_FOR_..._MAPPING_NAMES) and the task of each; a class in several has the first."""

_SUFFIXES = {
    "ForImageClassificationWithTeacher": "image-classification",
    "ForSequenceClassification": "text-classification",
    "ForImageClassification": "image-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
    "LMHeadModel": "text-generation",
    "ForCausalLM": "text-generation",
    "ForConditionalGeneration": "text2text-generation",
    "ForSemanticSegmentation": "semantic-segmentation",
    "ForObjectDetection": "object-detection",
    "WithProjection": ENCODER,
    "Encoder": ENCODER,
    "Model": ENCODER,
}
"""For classes outside the tables: the end of the name."""


def infer_task(class_name: str, model_type: str) -> str | None:
    """Return the task of a transformers class, given by name, as `BertForMaskedLM`; None where it has none."""
    import transformers

    if not hasattr(transformers, class_name):
        return None
    # The class of another type may be saved under this one, as CamembertForMaskedLM under roberta.
    return (
        _listed(class_name, model_type)
        or _listed(class_name, None)
        or next((task for end, task in _SUFFIXES.items() if class_name.endswith(end)), None)
    )


def _listed(class_name: str, model_type: str | None) -> str | None:
    """Return the task of the first table that lists a class for a type, or for any type."""
    from transformers.models.auto import modeling_auto

    for head, task in _HEADS.items():
        table = getattr(modeling_auto, f"MODEL_FOR_{head}_MAPPING_NAMES")
        for names in table.values() if model_type is None else (table.get(model_type, ()),):
            if class_name == names or (isinstance(names, (list, tuple)) and class_name in names):
                return task
    return None
