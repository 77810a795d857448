// Draws /openapi.json. Text goes into the page as text only, so nothing in the document can become markup.
"use strict";

const at = (id) => document.getElementById(id);

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

// Words between backquotes are code.
function paragraph(text) {
  return element("p", "", ...text.split("`").map((part, index) => (index % 2 ? element("code", part) : part)));
}

function resolved(schema, api) {
  if (!schema || !schema.$ref) return schema || {};
  return schema.$ref.split("/").slice(1).reduce((inner, part) => inner[part], api);
}

// A schema in a few words: "integer, 1 to 128" or "list of Message, at most 4096".
function words(schema, api) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  const choices = (schema.anyOf || schema.oneOf || []).filter((one) => one.type !== "null");
  if (choices.length) return choices.map((one) => words(one, api)).join(" or ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" or ");
  const kind = schema.type === "array" ? `list of ${words(schema.items || {}, api)}` : schema.type || "anything";
  return [kind, ...bounds(schema)].join(", ");
}

function bounds(schema) {
  const said = [];
  const low = schema.minimum ?? schema.exclusiveMinimum, high = schema.maximum ?? schema.exclusiveMaximum;
  if (low !== undefined) said.push(`${"minimum" in schema ? "from" : "above"} ${low}`);
  if (high !== undefined) said.push(`${"maximum" in schema ? "to" : "below"} ${high}`);
  const count = schema.maxLength ?? schema.maxItems ?? schema.maxProperties;
  const unit = { string: " characters", array: " items", object: " entries" }[schema.type] || "";
  if (count !== undefined) said.push(`at most ${count}${unit}`);
  if (schema.minLength ?? schema.minItems) said.push("not empty");
  if (schema.pattern) said.push(`like ${schema.pattern}`);
  return said;
}

function row(name, needed, schema, about, api) {
  const left = element("td", "", element("span", name));
  if (needed) left.append(" ", element("em", "needed"));
  const right = element("td", about || schema.description || "");
  if ("default" in schema && schema.default !== null) {
    right.append(element("span", `${right.textContent ? "; " : ""}default ${JSON.stringify(schema.default)}`));
  }
  return element("tr", "", left, element("td", words(schema, api)), right);
}

function table(rows) {
  const wide = element("div", "", element("table", "", element("tbody", "", ...rows)));
  wide.className = "wide";
  return wide;
}

function fields(schema, api) {
  const needed = new Set(schema.required || []);
  const names = Object.keys(schema.properties || {}).sort((a, b) => needed.has(b) - needed.has(a));
  return table(names.map((name) => row(name, needed.has(name), schema.properties[name], "", api)));
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(method, path, operation, api) {
  const lines = [`curl ${location.origin}${path}`];
  if (method !== "get") lines[0] += ` -X ${method.toUpperCase()}`;
  if (api.components.securitySchemes.key && !operation.security) lines.push(`-H "Authorization: Bearer $KEY"`);
  const body = operation.requestBody?.content["application/json"];
  if (body) {
    const model = api["x-model"] ? { model: api["x-model"] } : {};
    lines.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify({ ...model, ...body.example }))}`);
  }
  return lines.join(" \\\n  ");
}

function copied(text) {
  const button = element("button", "copy");
  button.type = "button";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "copied";
  });
  const box = element("div", "", element("pre", text), button);
  box.className = "copied";
  return box;
}

function answers(operation) {
  const rows = Object.entries(operation.responses).map(([status, response]) => {
    const shapes = Object.entries(response.content || {}).map(([media, { schema }]) =>
      schema?.$ref ? `${media}: ${schema.$ref.split("/").pop()}` : media);
    return element("tr", "", element("td", status), element("td", response.description),
      element("td", shapes.join(", ")));
  });
  return element("details", "", element("summary", "Answers"), table(rows));
}

function section(path, method, operation, api) {
  const title = element("h2", "", element("b", method.toUpperCase()), path);
  const drawn = element("section", "", title, paragraph(operation.summary));
  drawn.id = operation.operationId;
  if (operation.description) drawn.append(paragraph(operation.description));
  if (operation.parameters) {
    drawn.append(element("h3", "Parameters"), table(operation.parameters.map((one) =>
      row(`${one.name} (${one.in})`, one.required, one.schema, one.description, api))));
  }
  const body = operation.requestBody?.content["application/json"].schema;
  if (body) drawn.append(element("h3", "Body"), fields(resolved(body, api), api));
  drawn.append(element("h3", "Try it"), copied(curl(method, path, operation, api)), answers(operation));
  return drawn;
}

function schemas(api) {
  const drawn = element("section", "", element("h2", "Schemas"));
  drawn.id = "schemas";
  for (const [name, schema] of Object.entries(api.components.schemas)) {
    if (schema.properties) drawn.append(element("details", "", element("summary", name), fields(schema, api)));
  }
  return drawn;
}

function draw(api) {
  at("about").textContent = api.info.description;
  const groups = new Map();
  for (const [path, methods] of Object.entries(api.paths)) {
    if (/\.(css|js)$/.test(path)) continue; // this page itself
    for (const [method, operation] of Object.entries(methods)) {
      at("operations").append(section(path, method, operation, api));
      const link = element("a", "", element("b", method.toUpperCase()), path);
      link.href = `#${operation.operationId}`;
      const tag = operation.tags[0];
      groups.set(tag, [...(groups.get(tag) || [element("h2", tag)]), link]);
    }
  }
  at("operations").append(schemas(api));
  at("contents").append(...[...groups.values()].flat());
  if (location.hash) document.querySelector(location.hash)?.scrollIntoView();
}

async function load(key) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const response = await fetch("/openapi.json", { headers });
  at("door").hidden = response.status !== 401;
  if (response.ok) return draw({ ...(await response.json()), "x-model": await model(headers) });
  const told = (await response.json()).error?.message || response.statusText;
  at("trouble").textContent = key || response.status !== 401 ? told : "";
  at("trouble").hidden = !at("trouble").textContent;
}

async function model(headers) {
  const response = await fetch("/v1/models", { headers });
  return response.ok ? (await response.json()).data[0].id : "";
}

at("door").addEventListener("submit", (event) => {
  event.preventDefault();
  at("trouble").hidden = true;
  load(at("key").value.trim());
});
load("").catch((error) => {
  at("trouble").textContent = `The document cannot be read: ${error.message}`;
  at("trouble").hidden = false;
});
