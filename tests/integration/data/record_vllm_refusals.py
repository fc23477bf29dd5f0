"""Records what the request classes and error handlers of an installed vLLM answer to wrong requests.

    VENV/bin/python record_vllm_refusals.py > vllm_VERSION_refusals.jsonl

Needs vLLM itself, but no engine and no model: what only an engine knows is not asked. Cases are those
of the file that is there; each line of it is {path, body, content_type?, status, error}.
"""

import json
import pathlib
import types

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.testclient import TestClient
from starlette.responses import JSONResponse
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.serve.exception_handling.error_response import create_error_response
from vllm.entrypoints.serve.exception_handling.handlers.validation import validation_exception_handler
from vllm.entrypoints.serve.utils.api_utils import validate_json_request
from vllm.exceptions import VLLMError

HERE = pathlib.Path(__file__).parent

app = FastAPI()
app.state.args = types.SimpleNamespace(log_error_stack=False)
app.add_exception_handler(RequestValidationError, validation_exception_handler)


async def vllm_error(_, failure):
    error = create_error_response(failure)
    return JSONResponse(error.model_dump(), status_code=error.error.code)


app.add_exception_handler(VLLMError, vllm_error)


@app.post("/v1/completions", dependencies=[Depends(validate_json_request)])
async def completion(request: CompletionRequest, raw: Request):
    request.to_sampling_params(request.max_tokens)
    return {}


@app.post("/v1/chat/completions", dependencies=[Depends(validate_json_request)])
async def chat(request: ChatCompletionRequest, raw: Request):
    request.to_sampling_params(request.max_completion_tokens or request.max_tokens or 100, {})
    return {}


client = TestClient(app, raise_server_exceptions=False)
for line in next(HERE.glob("vllm_*_refusals.jsonl")).read_text().splitlines():
    case = json.loads(line)
    kind = case.get("content_type", "application/json")
    answer = client.post(case["path"], content=case["body"].encode(), headers={"content-type": kind})
    case["status"], case["error"] = answer.status_code, answer.json().get("error")
    print(json.dumps(case))
