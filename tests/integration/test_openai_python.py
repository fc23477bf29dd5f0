"""The official Python client against a split system."""

import asyncio

import openai
import pytest

QUESTION = [{"role": "system", "content": "You are brief."},
            {"role": "user", "content": "Where does the river go after the mill?"}]
PROMPT = "The lighthouse keeper wrote in the log that"


def chat(client, system, **options):
    options = {"model": system.model_name, "messages": QUESTION, "temperature": 0,
               "max_tokens": 24, **options}
    return client.chat.completions.create(**options)


def complete(client, system, **options):
    options = {"model": system.model_name, "prompt": PROMPT, "temperature": 0, "max_tokens": 24,
               **options}
    return client.completions.create(**options)


def streamed(chunks):
    """Text, finish reason and usage of a stream of chat or completion chunks."""
    text, finish, usage = "", None, None
    for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            piece = choice.delta.content if hasattr(choice, "delta") else choice.text
            text += piece or ""
            finish = choice.finish_reason or finish
    return text, finish, usage


def test_models_are_listed(client, system):
    names = [entry.id for entry in client.models.list()]
    assert system.model_name in names
    assert "shout" in names


def test_chat(client, system):
    answer = chat(client, system)
    assert answer.object == "chat.completion"
    assert answer.model == system.model_name
    choice = answer.choices[0]
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason in ("stop", "length")
    assert answer.usage.prompt_tokens > 10
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_chat_stream_says_what_the_whole_answer_says(client, system):
    whole = chat(client, system)
    text, finish, usage = streamed(
        chat(client, system, stream=True, stream_options={"include_usage": True}))
    assert text == whole.choices[0].message.content
    assert finish == whole.choices[0].finish_reason
    assert usage.prompt_tokens == whole.usage.prompt_tokens
    assert usage.completion_tokens == whole.usage.completion_tokens


def test_stream_has_no_usage_unless_asked(client, system):
    _, _, usage = streamed(chat(client, system, stream=True))
    assert usage is None


def test_completion(client, system):
    answer = complete(client, system, max_tokens=9)
    assert answer.object == "text_completion"
    assert answer.choices[0].text
    assert answer.usage.completion_tokens <= 9


def test_completion_stream_says_what_the_whole_answer_says(client, system):
    whole = complete(client, system)
    text, finish, _ = streamed(complete(client, system, stream=True))
    assert text == whole.choices[0].text
    assert finish == whole.choices[0].finish_reason


def test_prompt_of_token_ids(client, system):
    ids = system.post("/tokenize", {"model": system.model_name, "prompt": PROMPT},
                      pod="single").json()["tokens"]
    assert complete(client, system, prompt=ids).choices[0].text == \
        complete(client, system).choices[0].text


def test_the_split_is_visible_in_the_headers(client, system):
    raw = client.chat.completions.with_raw_response.create(
        model=system.model_name, messages=QUESTION, max_tokens=4)
    assert raw.headers["x-request-id"]
    assert raw.headers["x-baton-prefill"].startswith("prefill-")
    assert raw.headers["x-baton-decode"].startswith("decode-")


def test_split_answer_is_the_answer_of_one_pod(client, system):
    alone = complete(system.client(pod="single"), system, max_tokens=48).choices[0].text
    assert complete(client, system, max_tokens=48).choices[0].text == alone


def test_seed_repeats_a_sampled_answer(client, system):
    first, second = (complete(client, system, temperature=1.5, seed=11, max_tokens=32)
                     .choices[0].text for _ in range(2))
    other = complete(client, system, temperature=1.5, seed=12, max_tokens=32).choices[0].text
    assert first == second
    assert first != other


def test_stop_string_ends_the_answer(client, system):
    whole = complete(client, system, max_tokens=32).choices[0].text
    stop = whole[8:12]
    answer = complete(client, system, max_tokens=32, stop=[stop]).choices[0]
    assert answer.text == whole[:whole.index(stop)]
    assert answer.finish_reason == "stop"


def test_max_completion_tokens_bounds_a_chat(client, system):
    answer = chat(client, system, max_tokens=openai.omit, max_completion_tokens=5,
                  extra_body={"ignore_eos": True})
    assert answer.usage.completion_tokens == 5
    assert answer.choices[0].finish_reason == "length"


def test_chat_logprobs(client, system):
    answer = chat(client, system, logprobs=True, top_logprobs=3, max_tokens=4)
    places = answer.choices[0].logprobs.content
    assert len(places) == answer.usage.completion_tokens
    for place in places:
        assert place.logprob <= 0
        assert len(place.top_logprobs) == 3
        assert place.top_logprobs[0].logprob == pytest.approx(place.logprob, abs=1e-4)  # greedy


def test_repeated_prompt_is_reported_as_cached(client, system):
    prompt = "A long road through the hills. " * 40
    pods = set()
    for _ in range(6):
        raw = client.completions.with_raw_response.create(
            model=system.model_name, prompt=prompt, max_tokens=2)
        usage, pod = raw.parse().usage, raw.headers["x-baton-prefill"]
        if pod in pods:
            assert usage.prompt_tokens_details.cached_tokens > 0
            return
        pods.add(pod)
    raise AssertionError("six requests with one prompt went to six pods")


def test_lora_is_chosen_by_the_model_name(client, system):
    base = complete(client, system, max_tokens=32)
    adapted = complete(client, system, model="shout", max_tokens=32)
    assert adapted.model == "shout"
    assert adapted.choices[0].text != base.choices[0].text
    alone = complete(system.client(pod="single"), system, model="shout", max_tokens=32)
    assert adapted.choices[0].text == alone.choices[0].text


def test_unknown_model_is_not_found(client, system):
    with pytest.raises(openai.NotFoundError) as caught:
        complete(client, system, model="no-such-model")
    assert caught.value.code == "model_not_found" or "no-such-model" in str(caught.value)
    assert caught.value.response.headers["x-request-id"]


@pytest.mark.parametrize(("field", "value"), [
    ("max_tokens", 0), ("n", 1000), ("temperature", -1.0), ("top_p", 1.5), ("logprobs", 1000),
])
def test_bad_value_names_its_field(client, system, field, value):
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, system, **{field: value})
    assert caught.value.param == field
    assert caught.value.type == "invalid_request_error"
    assert complete(client, system, max_tokens=1).choices[0].text is not None


def test_leaving_a_stream_stops_the_request(client, system):
    stream = complete(client, system, max_tokens=4000, stream=True,
                      extra_body={"ignore_eos": True})
    for _, _ in zip(range(3), stream):
        pass
    stream.close()
    system.wait_until(system.quiet)


def test_leaving_before_the_first_token_stops_the_request(client, system):
    with pytest.raises(openai.APITimeoutError):
        complete(client.with_options(timeout=0.05), system,
                 prompt="Many words and more words to read. " * 300, max_tokens=4000,
                 extra_body={"ignore_eos": True})
    system.wait_until(system.quiet)


def test_sixteen_at_once(system):
    async def all_of_them():
        async with system.async_client() as client:
            return await asyncio.gather(*(
                client.completions.create(model=system.model_name, prompt=f"{PROMPT} {i}",
                                          temperature=0, max_tokens=16,
                                          extra_body={"ignore_eos": True})
                for i in range(16)))

    answers = asyncio.run(all_of_them())
    assert [answer.usage.completion_tokens for answer in answers] == [16] * 16
