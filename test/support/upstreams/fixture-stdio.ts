/** The fixture over stdio. It misbehaves on demand: noise on stdout, a flood on stderr, silence to what it does not know. */
import { createInterface } from "node:readline";
import { MODERN, answer } from "./fixture-core.ts";
import type { Rpc, State } from "./fixture-core.ts";
import type { Json } from "./fixture-tools.ts";

export type StdioFaults = { readonly noise: boolean; readonly flood: boolean; readonly deaf: boolean };

/** Returns how to say that its tools changed. */
export function serveStdio(state: State, faults: StdioFaults): () => void {
  const running = new Map<Json, AbortController>();
  const listening = new Set<string | number>();
  const write = (value: unknown): void =>
    void process.stdout.write(`${typeof value === "string" ? value : JSON.stringify(value)}\n`);
  if (faults.noise)
    process.stdout.write('Welcome!\n\n[debug] {"not":"for you"}\n{"half": \n{"level":30,"id":1,"msg":"a log line"}\n');
  if (faults.flood) for (let at = 0; at < 2000; at++) process.stderr.write(`${"flood ".repeat(200)}\n`);

  const ask = (id: string, method: string): void => write({ jsonrpc: "2.0", id, method });
  const receive = async (rpc: Rpc): Promise<void> => {
    if (rpc.method === undefined) return void state.replies.push(rpc);
    if (rpc.method === "notifications/cancelled") running.get(rpc.params["requestId"] ?? null)?.abort();
    if (rpc.id === undefined || (faults.deaf && rpc.method === "server/discover")) return;
    const meta = rpc.params["_meta"] as { readonly [key: string]: unknown } | undefined;
    const modern = meta?.["io.modelcontextprotocol/protocolVersion"] === MODERN;
    if (rpc.method === "subscriptions/listen" && modern) return void listening.add(rpc.id);
    const cancel = new AbortController();
    running.set(rpc.id, cancel);
    const notify = (method: string, params: unknown): void => write({ jsonrpc: "2.0", method, params });
    if (rpc.method === "tools/call" && rpc.params["name"] === "list_changed")
      notify("notifications/tools/list_changed", {});
    const outcome = await answer(state, rpc, { modern, headers: {}, notify, ask, signal: cancel.signal });
    if ("fault" in outcome) return outcome.fault === "die" ? process.exit(3) : undefined;
    running.delete(rpc.id);
    if (!cancel.signal.aborted) write("bytes" in outcome ? outcome.bytes : { jsonrpc: "2.0", id: rpc.id, ...outcome });
  };
  createInterface({ input: process.stdin }).on("line", (line) => {
    const rpc = JSON.parse(line) as Rpc;
    void receive({ ...rpc, params: rpc.params ?? {} });
  });
  return () => write({ jsonrpc: "2.0", method: "notifications/tools/list_changed", params: {} });
}
