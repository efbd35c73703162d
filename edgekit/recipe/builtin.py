"""The built-in recipes, which any backend may use. Backends bring further recipes of their own."""

from __future__ import annotations

from edgekit.recipe.recipe import PassConfig, Recipe, pruned

BUILTIN = {
    recipe.name: recipe
    for recipe in (
        Recipe("fp32", "the exported graph, every operator in fp32"),
        Recipe(
            "fp16",
            "fp16 weights and arithmetic; norms, softmax and reductions stay in fp32",
            (PassConfig("cast", {"dtype": "f16"}),),
            "f16",
        ),
        Recipe(
            "bf16",
            "fp32 weights, arithmetic in bf16 where the processor has it",
            (PassConfig("cast", {"dtype": "bf16"}),),
            "bf16",
        ),
        Recipe(
            "int8-static",
            "int8 activations and weights by calibration, Q/DQ form; MatMul, Gemm and Conv only",
            (PassConfig("quantize-static"),),
            "i8",
        ),
        *(
            Recipe(
                f"int8-{method}",
                f"int8-static, its ranges without outliers: {how}",
                (PassConfig("quantize-static", {"method": method}),),
                "i8",
            )
            for method, how in (
                ("percentile", "0.01 % of the values are left out at each end"),
                ("entropy", "those that keep most of the distribution (least Kullback-Leibler divergence)"),
                ("mse", "those that change the values least (mean squared error)"),
            )
        ),
        Recipe(
            "int8-static-bf16",
            "int8-static, and bf16 for the operators that stay in float",
            (PassConfig("quantize-static"), PassConfig("cast", {"dtype": "bf16"})),
            "i8+bf16",
        ),
        Recipe(
            "int8-qat",
            "int8-static after fine-tuning under its rounding, on the data of --train",
            (PassConfig("quantize-aware"), PassConfig("quantize-static")),
            "i8",
        ),
        Recipe(
            "int8-smooth",
            "int8-static for transformers: outliers of activations are moved into the weights first (SmoothQuant)",
            (PassConfig("smooth", {"alpha": "auto"}), PassConfig("quantize-static")),
            "i8",
        ),
        Recipe(
            "int8-dynamic",
            "int8 weights, activations quantized as the model runs; MatMul and Gemm only, so not for convolutions",
            (PassConfig("quantize-dynamic"),),
            "i8-dynamic",
        ),
        Recipe(
            "int8-weights",
            "weights and tables in int8, activations in float: small, and fast where products wait for memory",
            (PassConfig("weight-only"),),
            "i8-weights",
        ),
        Recipe(
            "int4-weights",
            "weights in int4, tables in int8, activations in float: for language models",
            (PassConfig("weight-only", {"bits": 4}),),
            "i4-weights",
        ),
    )
}

BUILTIN |= {
    recipe.name: recipe for recipe in (pruned(BUILTIN[name]) for name in ("fp32", "int8-static", "int8-dynamic"))
}

QAT_RECIPE = "int8-qat"
"""The recipe that `--qat` tries where no int8 candidate passes the gate, not even after repair."""

GENERATING = ("int8-weights", "int4-weights")
"""The recipes that are tried beside the usual ones for a model that generates a token a call: it reads every weight for
each, so that fewer bytes are less time."""

USUAL = ("fp32", "fp16", "bf16", "int8-static", "int8-static-bf16", "int8-dynamic")
"""The recipes that are tried for a backend without candidates in the target's file; others are tried on request."""
