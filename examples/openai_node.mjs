// OpenAI's client for Node: a stream, and an answer in the form of a JSON schema.
//
//   cd examples && npm ci && node openai_node.mjs [http://127.0.0.1:8000]
//
// OPENAI_API_KEY is the key, where the server asks for one.
import OpenAI from "openai";

const url = process.argv[2] ?? "http://127.0.0.1:8000";
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: process.env.OPENAI_API_KEY ?? "none" });
const model = (await client.models.list()).data[0].id;

const chunks = await client.chat.completions.create({
  model,
  messages: [{ role: "user", content: "Tell me a story about a fox." }],
  temperature: 0,
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of chunks) {
  process.stdout.write(chunk.choices[0]?.delta.content ?? "");
  if (chunk.usage) console.log(`\n(${chunk.usage.completion_tokens} tokens)`);
}

const schema = {
  type: "object",
  properties: { animal: { enum: ["fox", "owl", "bear"] }, age: { type: "integer", minimum: 1, maximum: 20 } },
  required: ["animal", "age"],
  additionalProperties: false,
};
const answer = await client.chat.completions.create({
  model,
  messages: [{ role: "user", content: "Which animal is in the story, and how old is it?" }],
  response_format: { type: "json_schema", json_schema: { name: "animal", strict: true, schema } },
  temperature: 0,
  max_tokens: 100,
});
console.log("schema:", JSON.stringify(JSON.parse(answer.choices[0].message.content)));
