"""LangChain: a stream, and an answer as an object of a class. Needs `pip install langchain-openai`.

python examples/langchain_python.py [http://127.0.0.1:8000]   OPENAI_API_KEY is the key, where the server asks for one
"""

import os
import sys
from typing import Literal

from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field, SecretStr


class Animal(BaseModel):
    animal: Literal["fox", "owl", "bear"]
    age: int = Field(ge=1, le=20)


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    chat = ChatOpenAI(
        model=os.environ.get("MODEL", "sluice-demo"),
        base_url=f"{url}/v1",
        api_key=SecretStr(os.environ.get("OPENAI_API_KEY", "none")),
        temperature=0,
        stream_usage=True,
    )
    for chunk in chat.stream("Tell me a story about a fox."):
        print(chunk.text, end="", flush=True)
        if chunk.usage_metadata:
            print(f"\n({chunk.usage_metadata['output_tokens']} tokens)")
    asked = chat.with_structured_output(Animal, method="json_schema")
    print("schema:", asked.invoke("Which animal is in the story, and how old is it?"))


if __name__ == "__main__":
    main()
