/**
 * The thread in which hostile schemas may do their worst: it has a memory limit and no environment, and whoever asks
 * ends it when the answer is late. Runs as the worker of schema-thread.ts; one question at a time.
 */
import { parentPort } from "node:worker_threads";
import { isObject, parseJsonText } from "../json.ts";
import type { JsonObject } from "../model.ts";
import { realPorts, silent } from "../ports.ts";
import { dialectsOf, faultsIn, loadCompiler } from "./schema-compile.ts";
import type { Check, Dialect, Fault } from "./schema-compile.ts";
import { schemaWork } from "./schema-work.ts";
import type { SchemaWork } from "./schema-work.ts";

export type Question =
  /** What is this schema? Compiles it, to see. */
  | { readonly kind: "probe"; readonly digest: string; readonly text: string }
  /** Are these arguments valid? The text comes each time: this thread keeps a bounded number of schemas. */
  | { readonly kind: "check"; readonly digest: string; readonly text: string; readonly args: JsonObject };
export type Verdict =
  | { readonly kind: "main"; readonly dialect: Dialect; readonly work: SchemaWork }
  | { readonly kind: "worker" }
  | { readonly kind: "unusable" };
export type Reply =
  | { readonly kind: "ready" }
  /** Before a check: from here on its own deadline counts. */
  | { readonly kind: "compiled" }
  | { readonly kind: "verdict"; readonly verdict: Verdict }
  | { readonly kind: "faults"; readonly faults: readonly Fault[] };

const { clock } = realPorts(silent);
const checks = new Map<string, Check>();

parentPort?.on("message", (question: Question) => {
  // what is thrown here ends the thread, and is a failed answer there
  void answer(question).then((reply) => parentPort?.postMessage(reply));
});
// warm before the first deadline begins: loading Ajv and its meta-schemas takes longer than any schema may
for (const $schema of [undefined, "http://json-schema.org/draft-07/schema"])
  await compile("", JSON.stringify({ $schema }));
parentPort?.postMessage({ kind: "ready" } satisfies Reply);

async function answer(question: Question): Promise<Reply> {
  const { digest, text } = question;
  if (question.kind === "probe") return { kind: "verdict", verdict: await probe(digest, text) };
  const check = checks.get(digest) ?? (await compile(digest, text))?.check;
  if (check === undefined) throw new Error("The schema was one when it was probed.");
  parentPort?.postMessage({ kind: "compiled" } satisfies Reply);
  return { kind: "faults", faults: faultsIn(check, question.args) };
}

async function probe(digest: string, text: string): Promise<Verdict> {
  const begunMs = clock.threadCpuMs();
  const compiled = await compile(digest, text);
  if (compiled === null) return { kind: "unusable" };
  const slow = clock.threadCpuMs() - begunMs > MAIN_COMPILE_MS_MAX;
  const work = slow || text.length > MAIN_TEXT_MAX || NAMES.test(text) ? null : schemaWork(compiled.schema);
  if (work === null) return { kind: "worker" };
  checks.delete(digest);
  return { kind: "main", dialect: compiled.dialect, work };
}

type Compiled = { readonly schema: JsonObject; readonly dialect: Dialect; readonly check: Check };

/** Null where the text is no schema of any dialect that it may be meant in. */
async function compile(digest: string, text: string): Promise<Compiled | null> {
  const schema = parseJsonText(text, "rounded");
  if (!isObject(schema)) return null;
  for (const dialect of dialectsOf(schema)) {
    const compiler = await loadCompiler(dialect);
    try {
      const check = compiler(schema, { untrusted: true, allErrors: false });
      remember(digest, check);
      return { schema, dialect, check };
    } catch {
      // not of this dialect; perhaps of the next
    }
  }
  return null;
}

function remember(digest: string, check: Check): void {
  const oldest = checks.keys().next().value;
  if (checks.size >= CHECKS_MAX && oldest !== undefined) checks.delete(oldest);
  checks.set(digest, check);
}

/** What is longer, or took longer to compile, is kept off the main thread. */
const MAIN_TEXT_MAX = 256 * 1024;
const MAIN_COMPILE_MS_MAX = 200;
/** Names that Ajv keeps for good: two servers' schemas on one thread could answer for each other. */
const NAMES = /"\$(?:id|anchor|dynamicAnchor|recursiveAnchor|async)":/;
const CHECKS_MAX = 500;
