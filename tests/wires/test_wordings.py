"""What hosts say in words alone: each wording as it was met, and its neighbours that mean something else."""

from __future__ import annotations

import pytest

from infron.wires.wordings import says_no_stream

NO_STREAM = (
    "Unsupported value: 'audio.format' does not support 'wav' when stream=true. Supported values are: 'pcm16'.",
    "Unsupported value: 'stream' does not support true with this model. Supported values are: false.",
    "Unsupported value: 'stream' does not support true with this model. Only the default (false) value is supported.",
    "Your organization must be verified to stream this model. Please go to: https://x",
    "This model doesn't support tool use in streaming mode.",
    "This model doesn’t support tool use in streaming mode.",
    "The model is unsupported for streaming.",
    "The model you specified does not support streaming",
    '{"error":["Error in `stream`: `stream` is not supported for this model"]}',
    "Streaming completion is not support yet, please remove 'stream' key value in the request payload.",
    "Streaming is not supported with tools",
    "Streaming is not currently supported with beam search",
    "stream is not allowed for this model",
    "stream not allowed",
    "streaming is not available for this model",
    "stream must be false",
    "`stream` must be set to false when response_format is json_schema",
    "stream should be False",
    "Cannot use tools with stream",
    "best_of is not supported when stream is True",
    "n > 1 not supported when streaming",
    '{"error":{"message":"Please set stream=false","code":400}}',
    "This endpoint only supports non-streaming requests",
    "该模型不支持流式输出",
    "stream mode is not supported for this model",
    "response_format json_schema cannot be used with stream=True",
    "Streaming responses are not supported.",
    '"stream": true is not supported',
    "streaming_not_supported",
    "Does not support stream=True",
    "stream unsupported for this model",
    "stream: Input should be false",
    "streaming is disabled for this model",
    "This model can't be streamed",
    "model `x` is not streamable",
    "Streaming not enabled for model",
    "parameter stream=true is invalid for this model",
    'The "stream" parameter is not permitted',
    "streaming unsupported",
)
OTHERWISE = (
    "This model only support stream mode, please enable the stream parameter to access the model.",
    "parameter.enable_thinking must be set to false for non-streaming calls",
    "Unknown field stream_options",
    "stream_options is not supported",
    "Unsupported parameter: 'stream_options'",
    "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
    "messages must not be empty",
    "non-streaming requests are not supported; set stream=true",
    "Streaming is required for operations that may take longer than 10 minutes",
    "max_tokens is too large",
    "This model does not support non-streaming requests",
    "stream must be true",
    "image data is not a valid stream",
    "Thinking is not supported in non-streaming mode",
    "tools are not supported",
    "you must set stream to true",
    "Overloaded, try again",
    "Unrecognized key(s) in object: 'stream_options'",
)


@pytest.mark.parametrize("said", NO_STREAM)
def test_wording_that_there_is_no_stream_is_known(said: str) -> None:
    assert says_no_stream(said)


@pytest.mark.parametrize("said", OTHERWISE)
def test_wording_that_speaks_of_streams_otherwise_is_none_of_these(said: str) -> None:
    """Streams alone are served, or the field `stream_options` is meant: a whole answer would not help."""
    assert not says_no_stream(said)
