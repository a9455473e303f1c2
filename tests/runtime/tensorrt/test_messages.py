"""TensorRT-RTX 1.7.1.116's own messages, as it gave them, and what becomes of them."""

import pytest

from hidenerf.runtime.tensorrt.generations import GENERATIONS, Generation
from hidenerf.runtime.tensorrt.messages import EXPORT_AGAIN, build_refusal, parser_refusal, plain, refusal

FP32_GEMM = (
    "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([pass.cpp:337: check_turing_op_compatibility] Cannot "
    "compile operation 'TriplaneRender_150_MatMul' for Turing (SM75): FP32 GEMM is not supported. In compileGraph at "
    "/_src/optimizer/myelin/codeGenerator.cpp:2012)"
)
FP8 = (
    "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([pass.cpp:1500: run_passes] Cannot compile for target(s) "
    "sm86, because the model contains HW-specific datatypes: fp8_e4m3. In compileGraph at "
    "/_src/optimizer/myelin/codeGenerator.cpp:2012)"
)
NO_OUTPUT = (
    "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Network must have at least one output. In "
    "validate at /_src/optimizer/api/network.cpp:3810)"
)
NO_DRIVER = (
    "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (In catchCudaError at "
    "/_src/common/dispatch/checkMacros.cpp:250 (cudaError 35: CUDA driver version is insufficient for CUDA runtime "
    "version))"
)
MIXED_TYPES = (
    "Invalid Node - add_mixed\nITensor::getDimensions: Error Code 4: API Usage Error (add_mixed: ElementWiseOperation "
    "SUM must have same input types. But they are of types Float and Half. In validateTypes at "
    f"/_src/optimizer/common/nodes/elementWiseNode.cpp:40)\n{NO_DRIVER}"
)
NO_PLUGIN = "Assertion failed: creator: Plugin not found, are the plugin name, version, and namespace correct?"
NO_PLUGIN_EITHER = 'creator && "Plugin not found, are the plugin name, version, and namespace correct?"'
UINT8 = (
    "Assertion failed: legalUINT8: TensorRT does not support UINT8 types for intermediate tensors. For UINT8 "
    "quantization, the kIMPORT_UINT8_QUANTIZATION flag must be set. (DLA version >= 3.16 only)"
)
NOT_ONNX = "Assertion failed: model->ParseFromCodedStream(&codedInput): Failed to parse the ONNX model."


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            FP32_GEMM,
            "Cannot compile operation 'TriplaneRender_150_MatMul' for Turing (SM75): FP32 GEMM is not supported",
        ),
        (
            FP8,
            "Cannot compile for target(s) sm86, because the model contains HW-specific datatypes: fp8_e4m3",
        ),
        (NO_OUTPUT, "Network must have at least one output"),
        (
            MIXED_TYPES,
            "add_mixed: ElementWiseOperation SUM must have same input types. But they are of types Float and Half",
        ),
        (NO_PLUGIN, "Plugin not found, are the plugin name, version, and namespace correct"),
        (NO_PLUGIN_EITHER, "Plugin not found, are the plugin name, version, and namespace correct"),
        (NOT_ONNX, "Failed to parse the ONNX model"),
        ("Invalid Node - only_that", "Invalid Node - only_that"),
        ("anything else", "anything else"),
        ("", ""),
    ],
)
def test_what_is_left_of_a_message(message: str, expected: str) -> None:
    assert plain(message) == expected


@pytest.mark.parametrize(
    ("message", "fix", "of_target"),
    [
        (FP32_GEMM, "--fp16", True),
        (FP8, "--sm", True),
        (UINT8, "last node", False),
        (NOT_ONNX, "damaged", False),
        ("Error Code 2: OutOfMemory (Requested size was 8 bytes.)", "free memory", False),
        (NO_OUTPUT, EXPORT_AGAIN, False),
    ],
)
def test_the_fix(message: str, fix: str, of_target: bool) -> None:
    found = refusal(message)
    assert fix in found.fix
    assert found.of_target == of_target
    assert str(found).endswith(".")
    assert "\n" not in str(found)


def test_the_cause_is_the_first_error_that_is_not_the_missing_driver() -> None:
    assert "FP32 GEMM" in build_refusal([NO_DRIVER, FP32_GEMM, NO_OUTPUT]).reason
    assert build_refusal([NO_DRIVER]).reason == "CUDA driver version is insufficient for CUDA runtime version"
    assert "no reason" in build_refusal([]).reason


class ParserError:
    def __init__(self, description: str, name: str, operator: str) -> None:
        self.description, self.name, self.operator = description, name, operator

    def desc(self) -> str:
        return self.description

    def node_name(self) -> str:
        return self.name

    def node_operator(self) -> str:
        return self.operator

    def node(self) -> int:
        """All that TensorRT 8.6 says; -1 if the error is about none."""
        return NODES.index((self.name, self.operator)) if self.operator else -1


NODES = [("first", "Conv"), ("deform1", "DeformConv")]


@pytest.mark.parametrize("generation", GENERATIONS, ids=lambda generation: generation.name)
def test_a_parser_error_names_its_node_if_it_has_one(generation: Generation) -> None:
    def failing_node(error: ParserError) -> tuple[str, str]:
        return generation.failing_node(error, NODES)

    assert parser_refusal([ParserError(NO_PLUGIN, "deform1", "DeformConv")], failing_node).reason.startswith(
        "node deform1 (DeformConv): Plugin not found"
    )
    assert parser_refusal([ParserError(NOT_ONNX, "", "")], failing_node).reason == "Failed to parse the ONNX model"
    assert "no reason" in parser_refusal([], failing_node).reason
