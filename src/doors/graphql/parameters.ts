/** What is asked, and in which form may it be answered? Read from the parsed body, or from the query of a GET. */
import { isObject, JsonFault, parseJsonText } from "../../json.ts";
import type { Json, JsonObject } from "../../model.ts";
import { Refusal } from "../../refusal.ts";
import type { Exchange } from "../exchange.ts";

export type Parameters = {
  readonly query: string;
  readonly operationName?: string;
  readonly variables?: JsonObject;
  readonly extensions?: JsonObject;
};
export type Accepted = {
  /** null where the caller takes a stream only. */
  readonly json: "application/json" | "application/graphql-response+json" | null;
  readonly stream: boolean;
};

const KNOWN = new Set(["query", "operationName", "variables", "extensions"]);

/** @throws Refusal invalid_request */
export function readParameters({ method, body, query }: Exchange): Parameters {
  const fields = method === "GET" ? fromQuery(query) : body;
  if (Array.isArray(fields)) throw malformed("Batches of operations are not taken.");
  if (!isObject(fields)) throw malformed("The body must be a JSON object.");
  if (Object.keys(fields).some((key) => !KNOWN.has(key)))
    throw malformed("The request takes query, operationName, variables and extensions.");
  const document = fields["query"];
  const operationName = fields["operationName"] ?? undefined;
  const variables = fields["variables"] ?? undefined;
  const extensions = fields["extensions"] ?? undefined;
  if (typeof document !== "string") throw malformed("query must be a string.");
  if (operationName !== undefined && typeof operationName !== "string")
    throw malformed("operationName must be a string.");
  if (variables !== undefined && !isObject(variables)) throw malformed("variables must be an object.");
  if (extensions !== undefined && !isObject(extensions)) throw malformed("extensions must be an object.");
  return {
    query: document,
    ...(operationName === undefined ? {} : { operationName }),
    ...(variables === undefined ? {} : { variables }),
    ...(extensions === undefined ? {} : { extensions }),
  };
}

/** The first form that the caller names and we have; what is refused with `q=0` is not named. @throws Refusal invalid_request */
export function readAccept(accept: string | undefined): Accepted {
  const types = (accept ?? "*/*")
    .split(",")
    .map((part) => part.toLowerCase().replaceAll(/\s/g, "").split(";"))
    .filter((part) => !part.some((parameter) => /^q=0(\.0*)?$/.test(parameter)))
    .map(([type = ""]) => type);
  const json = types.map(jsonType).find((type) => type !== null) ?? null;
  const stream = types.some((type) => type === "text/event-stream" || type === "text/*" || type === "*/*");
  if (json === null && !stream)
    throw new Refusal("invalid_request", "The answer would be JSON or an event stream.", { status: 406 });
  return { json, stream };
}

function jsonType(type: string): Accepted["json"] {
  if (type === "application/graphql-response+json") return type;
  return type === "application/json" || type === "application/*" || type === "*/*" ? "application/json" : null;
}

function fromQuery(query: URLSearchParams): Json {
  const fields: { [name: string]: Json } = {};
  for (const [name, text] of query) {
    // two readers that pick different ones are a bypass
    if (Object.hasOwn(fields, name)) throw malformed("A parameter occurs twice.");
    fields[name] = name === "variables" || name === "extensions" ? parsed(text) : text;
  }
  return fields;
}

function parsed(text: string): Json {
  try {
    return parseJsonText(text);
  } catch (fault) {
    if (fault instanceof JsonFault) throw malformed("A parameter is not valid JSON.");
    throw fault;
  }
}

function malformed(message: string): Refusal {
  return new Refusal("invalid_request", message);
}
