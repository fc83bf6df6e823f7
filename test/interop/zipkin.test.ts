/** Zipkin, as `npm run demo:traces` starts it, shows the calls: each as one trace, found by what policy and server said. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTraffic, startViewer } from "../../otel/demo.ts";
import type { Traffic, Viewer } from "../../otel/demo.ts";
import type { ZipkinSpan } from "../../otel/zipkin.ts";
import { until } from "../support/gateway.ts";
import { freePort, lacks } from "../support/parts.ts";

// half a minute of Java, and 130 MB where it is not there yet
const FULL = process.env["FULL"] === "1";

describe.skipIf(!FULL || lacks("zipkin"))("Zipkin", () => {
  let viewer: Viewer;
  let traffic: Traffic;
  beforeAll(async () => {
    [viewer, traffic] = await Promise.all([startViewer(await freePort()), startTraffic()]);
    // the first calls may find a server that is not discovered yet
    await until(async () => {
      await traffic.round();
      return (await traces("error.type=tool_error")).length > 0;
    }, "both servers answer");
  }, 240_000);
  afterAll(async () => {
    viewer.stop();
    await traffic.stop();
  });

  async function traces(query: string): Promise<readonly (readonly ZipkinSpan[])[]> {
    await traffic.flush(viewer.url);
    const answer = await fetch(`${viewer.url}/api/v2/traces?limit=100&annotationQuery=${encodeURIComponent(query)}`);
    return (await answer.json()) as ZipkinSpan[][];
  }

  test("shows a call that was made as one server span, what decided and the server's answer below it", async () => {
    const [trace = []] = await traces("gen_ai.tool.name=everything__echo and portcullis.outcome=success");
    expect(trace.map(({ name, kind }) => `${name} ${kind ?? ""}`.trim()).toSorted()).toEqual([
      "intent",
      "limit",
      "policy",
      "route",
      "tools/call everything__echo CLIENT",
      "tools/call everything__echo SERVER",
    ]);
    const server = trace.find(({ kind }) => kind === "SERVER");
    expect(trace.filter(({ id }) => id !== server?.id).every(({ parentId }) => parentId === server?.id)).toBe(true);
    expect(server?.tags).toMatchObject({ "portcullis.principal.id": "alice", "mcp.method.name": "tools/call" });
    expect(trace.find(({ kind }) => kind === "CLIENT")?.remoteEndpoint).toMatchObject({ serviceName: "everything" });
  });

  test("finds what policy denied, and shows nothing of it that was executed", async () => {
    const denied = await traces("portcullis.decision=deny");
    expect(denied.length).toBeGreaterThan(0);
    for (const trace of denied) {
      expect(trace.map(({ name }) => name).toSorted()).toEqual(["policy", "route", "tools/call files__read_text_file"]);
      expect(trace.every(({ kind }) => kind !== "CLIENT")).toBe(true);
      expect(trace.find(({ name }) => name === "policy")?.tags).toMatchObject({ error: "forbidden" });
    }
  });

  test("finds a tool's own failure by its error type", async () => {
    const failed = await traces("error.type=tool_error");
    expect(failed.length).toBeGreaterThan(0);
    expect(failed[0]?.filter(({ tags }) => tags["error"] === "tool_error")).toHaveLength(2);
  });
});
