/**
 * How does each model's API want this tool described? Shapes only: what a tool is, and whether it may be seen, was
 * decided before. What surprises: a schema may be loosened on the way, never tightened, since the gateway validates
 * every call against the tool's own schema anyway; what an API would refuse outright is left out.
 */
import { isObject } from "../../json.ts";
import type { Json, JsonObject, Tool } from "../../model.ts";
import { geminiSchema } from "./gemini.ts";

export type ToolFormat = "MCP" | "OPENAI" | "ANTHROPIC" | "GEMINI";

/** The chat completions API refuses a longer description. */
const OPENAI_DESCRIPTION_MAX = 1024;
/** Both refuse these at the root of a function's parameters. */
const REFUSED_AT_ROOT = new Set(["$schema", "oneOf", "anyOf", "allOf", "enum", "not"]);

export function definitionFor(tool: Tool, format: ToolFormat): JsonObject {
  const description = textOf(tool, "description");
  if (format === "MCP") return mcp(tool);
  if (format === "ANTHROPIC") return { name: tool.name, ...given({ description }), input_schema: parameters(tool) };
  if (format === "OPENAI") {
    const short = description?.slice(0, OPENAI_DESCRIPTION_MAX).toWellFormed() ?? null;
    return {
      type: "function",
      function: { name: tool.name, ...given({ description: short }), parameters: parameters(tool) },
    };
  }
  return { name: tool.name, ...given({ description, parameters: geminiSchema(inputSchemaOf(tool)) }) };
}

/** A server may put anything there: null unless it is text. */
export function textOf(tool: Tool, field: "title" | "description"): string | null {
  const value = tool.definition[field];
  return typeof value === "string" ? value : null;
}

export function inputSchemaOf(tool: Tool): JsonObject {
  const schema = tool.definition["inputSchema"];
  return isObject(schema) ? schema : { type: "object" };
}

export function outputSchemaOf(tool: Tool): JsonObject | null {
  const schema = tool.definition["outputSchema"];
  return isObject(schema) ? schema : null;
}

function mcp(tool: Tool): JsonObject {
  const { annotations } = tool;
  return {
    name: tool.name,
    ...given({ title: textOf(tool, "title"), description: textOf(tool, "description") }),
    inputSchema: inputSchemaOf(tool),
    ...given({
      outputSchema: outputSchemaOf(tool),
      annotations: Object.keys(annotations).length === 0 ? null : annotations,
    }),
  };
}

/** `properties` must be there, even if empty, and the root must be an object. */
function parameters(tool: Tool): JsonObject {
  const kept = Object.entries(inputSchemaOf(tool)).filter(([key]) => !REFUSED_AT_ROOT.has(key));
  return { properties: {}, ...Object.fromEntries(kept), type: "object" };
}

function given(fields: { readonly [name: string]: Json }): JsonObject {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null));
}
