"""OpenAI's Python client: a stream, a tool, an answer in the form of a JSON schema. Needs `pip install openai`.

python examples/openai_python.py [http://127.0.0.1:8000]      OPENAI_API_KEY is the key, where the server asks for one
"""

import json
import os
import sys

import openai

SCHEMA = {
    "type": "object",
    "properties": {"animal": {"enum": ["fox", "owl", "bear"]}, "age": {"type": "integer", "minimum": 1, "maximum": 20}},
    "required": ["animal", "age"],
    "additionalProperties": False,
}


def stream(client: openai.OpenAI, model: str) -> None:
    """Piece by piece, as it is generated."""
    chunks = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Tell me a story about a fox."}],
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in chunks:
        for choice in chunk.choices:
            print(choice.delta.content or "", end="", flush=True)
        if chunk.usage:
            print(f"\n({chunk.usage.completion_tokens} tokens)")


def tool(client: openai.OpenAI, model: str) -> None:
    """A call is the model's to make. One whose chat template knows no tools has none, and the server says so."""
    try:
        answer = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Note the animal: I met a fox of five years."}],
            tools=[{"type": "function", "function": {"name": "note", "parameters": SCHEMA}}],
            temperature=0,
            max_tokens=200,
        )
    except openai.BadRequestError as error:
        if error.param != "tools":
            raise
        print("no tools:", error.body["message"] if isinstance(error.body, dict) else error)
        return
    message = answer.choices[0].message
    for call in message.tool_calls or []:
        if call.type == "function":
            print("call:", call.function.name, call.function.arguments)
    if not message.tool_calls:
        print("no call:", message.content)


def schema(client: openai.OpenAI, model: str) -> None:
    """The answer is JSON of this form, whatever the model."""
    answer = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Which animal is in the story, and how old is it?"}],
        response_format={"type": "json_schema", "json_schema": {"name": "animal", "strict": True, "schema": SCHEMA}},
        temperature=0,
        max_tokens=100,
    )
    print("schema:", json.loads(answer.choices[0].message.content or ""))


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    with openai.OpenAI(base_url=f"{url}/v1", api_key=os.environ.get("OPENAI_API_KEY", "none")) as client:
        model = client.models.list().data[0].id
        for example in (stream, tool, schema):
            example(client, model)


if __name__ == "__main__":
    main()
