/** Envoy with an example configuration in front of the fixture, a gateway beside it, and requests as a client sends them. */
import { readFileSync } from "node:fs";
import { request } from "node:http";
import type { IncomingHttpHeaders } from "node:http";
import { join } from "node:path";
import { parseOwnJson } from "../../src/json.ts";
import type { Body } from "../support/ask.ts";

export const EXAMPLES = ["envoy-sidecar.yaml", "envoy-edge.yaml"] as const;

export function example(name: (typeof EXAMPLES)[number]): string {
  return readFileSync(join(import.meta.dirname, "../examples", name), "utf8");
}

/** Where it is not the wait that is looked at: on a machine that is busy a check may take longer than Envoy waits. */
export function patient(text: string): string {
  return text.replaceAll(/(?<!connect_)timeout: 0\.25s/g, "timeout: 10s");
}

export type Sent = {
  readonly key?: string | null;
  readonly method?: string;
  readonly path?: string;
  /** Text is sent as it is. */
  readonly body?: unknown;
  /** In pairs, so that a name can occur twice. */
  readonly headers?: readonly (readonly [string, string])[];
};
export type Got = { readonly status: number; readonly headers: IncomingHttpHeaders; readonly json: Body };

/** One request on a connection of its own, its path untouched. */
export function send(
  url: string,
  { key = null, method = "POST", path = "/mcp", body, headers = [] }: Sent,
): Promise<Got> {
  const { hostname, port } = new URL(url);
  const text = body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
  const pairs: (readonly [string, string])[] = [
    ["host", `${hostname}:${port}`],
    ["accept", "application/json, text/event-stream"],
    ...(key === null ? [] : [["x-api-key", key] as const]),
    ...(text === undefined
      ? []
      : ([
          ["content-type", "application/json"],
          ["content-length", String(Buffer.byteLength(text))],
        ] as const)),
    ...headers,
  ];
  return new Promise((resolve, reject) => {
    const asked = request(
      { hostname, port, method, path, agent: false, timeout: 20_000, headers: pairs.flat() },
      (response) => {
        let answer = "";
        response.setEncoding("utf8").on("data", (chunk: string) => (answer += chunk));
        response.on("error", reject);
        // a standing stream has no end
        if (method === "GET" && response.statusCode === 200) {
          resolve({ status: 200, headers: response.headers, json: null });
          return void asked.destroy();
        }
        response.on("end", () => {
          const isJson = /json/.test(response.headers["content-type"] ?? "") && answer !== "";
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            json: isJson ? parseOwnJson(answer) : answer,
          });
        });
      },
    );
    asked.on("timeout", () => asked.destroy(new Error("no answer within 20 s")));
    asked.on("error", reject);
    asked.end(text);
  });
}

export function use(tool: string, args: object = {}): object {
  return { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: tool, arguments: args } };
}
