/** `tools call`: one use of a tool, as the principal of PORTCULLIS_KEY; through the same stages as any other call. */
import { JsonFault, isObject, parseJsonText } from "../json.ts";
import type { JsonObject } from "../model.ts";
import { ask } from "./client.ts";
import { CommandFault, flag, printable, printJson } from "./io.ts";
import type { Invocation } from "./io.ts";

/** Longer than any sensible tool's timeout: the gateway, not this command, decides when a call took too long. */
const DEADLINE_MS = 15 * 60_000;

export async function callTool(invocation: Invocation): Promise<number> {
  const [tool = ""] = invocation.operands;
  const asking = {
    tool,
    version: flag(invocation, "version"),
    arguments: argumentsOf(await textOf(invocation)),
  };
  const result: JsonObject = await ask(invocation, (client) => client.tools.callTool.mutate(asking), {
    deadlineMs: DEADLINE_MS,
    withKey: true,
  });
  if (invocation.json) printJson(invocation, result);
  else tell(invocation, result);
  return result["isError"] === true ? 1 : 0;
}

/** `--args -` reads stdin: what stands there is in no shell's history and no list of processes. */
async function textOf(invocation: Invocation): Promise<string> {
  const text = flag(invocation, "args") ?? "{}";
  if (text !== "-") return text;
  const chunks: Buffer[] = [];
  for await (const chunk of invocation.io.stdin) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString("utf8");
}

function argumentsOf(text: string): JsonObject {
  try {
    const value = parseJsonText(text);
    if (isObject(value)) return value;
  } catch (fault) {
    if (!(fault instanceof JsonFault)) throw fault;
    throw new CommandFault(`--args: ${fault.message.replace("The body", "the text")}`, 2);
  }
  throw new CommandFault('--args takes a JSON object, such as {"path": "a.txt"}', 2);
}

/** Text as text, everything else as JSON. */
function tell({ io }: Invocation, result: JsonObject): void {
  const content = Array.isArray(result["content"]) ? result["content"] : [];
  for (const item of content) {
    const text = isObject(item) && item["type"] === "text" && typeof item["text"] === "string" ? item["text"] : null;
    io.stdout(`${printable(text ?? JSON.stringify(item))}\n`);
  }
  if (content.length === 0) io.stdout(`${printable(JSON.stringify(result["structuredContent"] ?? result, null, 2))}\n`);
  if (result["isError"] === true) io.stderr("The tool says that this is an error.\n");
}
