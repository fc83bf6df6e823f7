/** A stdio instance is run, spoken to in its era, kept within bounds, and leaves nothing behind. */
import { afterEach, describe, expect, test } from "vitest";
import { callOn, fixtureOverStdio, stdio, textOf, until, upstreamsOf } from "./support/upstreams/calling.ts";
import type { InstanceSpec } from "../src/model.ts";
import type { UpstreamOptions } from "../src/upstream/upstreams.ts";
import type { Upstreams } from "../src/upstream/forward.ts";

const open: Upstreams[] = [];
afterEach(async () => {
  for (const upstreams of open.splice(0)) await upstreams.close();
});

function serve(spec: InstanceSpec, options?: Partial<UpstreamOptions>): Upstreams {
  const upstreams = upstreamsOf([spec], options);
  open.push(upstreams);
  return upstreams;
}

const never = new AbortController().signal;
const running = (group: number): boolean => {
  try {
    return process.kill(-group, 0);
  } catch {
    return false;
  }
};

describe.each(["modern", "legacy"] as const)("a %s server over stdio", (era) => {
  const fixture = fixtureOverStdio("--era", era);

  test("says what it offers", async () => {
    const found = await serve(fixture).discover("s", "1", never);
    expect(found).toMatchObject({
      era,
      serverInfo: { name: "fixture", odd: true },
      capabilities: { odd: { kept: 1 } },
      instructions: "Be kind.",
    });
    expect(found.tools.find(({ name }) => name === "echo")).toMatchObject({
      "x-unknown": { kept: [1, null] },
      annotations: { unheard: 1 },
    });
  });

  test("gets the arguments as they are, and its result comes back with every field", async () => {
    const { call, answer } = callOn(serve(fixture), "echo", { args: { text: "été ☂", deep: [1, { a: null }] } });
    expect(await answer).toMatchObject({
      kind: "result",
      result: {
        content: [{ text: "été ☂", unheard: 1 }],
        structuredContent: { deep: [1, { a: null }] },
        odd: { kept: true },
      },
    });
    expect(call.executed).toBe("yes");
  });

  test("answers with its own JSON-RPC error as it is", async () => {
    expect(await callOn(serve(fixture), "rpc_error", { args: { code: -32042 } }).answer).toEqual({
      kind: "error",
      error: { code: -32042, message: "no such thing", data: { kept: [1] } },
    });
  });

  test("may answer more than ten megabytes, while others go on", async () => {
    const upstreams = serve(fixture);
    const big = callOn(upstreams, "big", { args: { bytes: 12_000_000 } });
    const small = callOn(upstreams, "echo", { args: { text: "small" } });
    expect(textOf(await big.answer)).toHaveLength(12_000_000);
    expect(textOf(await small.answer)).toBe("small");
  });

  test("that answers more than the gateway takes fails that call only, and lives on", async () => {
    const upstreams = serve(fixture, { resultBytesMax: 1_000_000 });
    const slow = callOn(upstreams, "slow", { args: { ms: 300 } });
    expect(await callOn(upstreams, "big", { args: { bytes: 20_000_000 } }).came()).toBe("upstream_error");
    expect(textOf(await slow.answer)).toBe("slept");
    expect(textOf(await callOn(upstreams, "echo", { args: { text: "still here" } }).answer)).toBe("still here");
  });

  test.each(["duplicate", "deep", "proto", "both", "neither", "array_result"])(
    "that answers garbage fails that call only: %s",
    async (kind) => {
      const upstreams = serve(fixture);
      const slow = callOn(upstreams, "slow", { args: { ms: 200 } });
      expect(await callOn(upstreams, "garbage", { args: { kind } }).came()).toBe("upstream_error");
      expect(textOf(await slow.answer)).toBe("slept");
    },
  );

  test("that dies leaves the call's fate unknown, and is started again for the next", async () => {
    const upstreams = serve(fixture);
    const { came, call } = callOn(upstreams, "die");
    expect([await came(), call.executed, call.attempts]).toEqual(["upstream_error", "unknown", 1]);
    expect(textOf(await callOn(upstreams, "echo", { args: { text: "again" } }).answer)).toBe("again");
  });

  test("is told at the deadline, and when the caller cancels", async () => {
    const upstreams = serve(fixture);
    const late = callOn(upstreams, "hang", { timeoutMs: 800 });
    expect([await late.came(), late.call.executed]).toEqual(["upstream_timeout", "unknown"]);
    const controller = new AbortController();
    const { came, call } = callOn(upstreams, "slow", { args: { ms: 5000 }, signal: controller.signal });
    setTimeout(() => controller.abort(), 50);
    expect([await came(), call.executed]).toEqual(["cancelled", "unknown"]);
    await until(() => upstreams.status()[0]?.inFlight === 0);
  });

  test("that asks is told that it lives, and that nothing else is offered", async () => {
    const replies = JSON.parse(textOf(await callOn(serve(fixture), "asks").answer)) as {
      id: string;
      error?: unknown;
      result?: unknown;
    }[];
    expect(replies.map(({ id, result, error }) => [id, result ?? (error as { code: number }).code])).toEqual(
      expect.arrayContaining([
        ["q1", {}],
        ["q2", -32601],
        ["q3", -32601],
      ]),
    );
  });

  test("tells progress to its own call, unknown fields kept", async () => {
    const heard: unknown[] = [];
    const upstreams = serve(fixture);
    await callOn(upstreams, "progress", { args: { steps: 2 }, onProgress: (params) => heard.push(params) }).answer;
    await callOn(upstreams, "stray_progress", { onProgress: (params) => heard.push(params) }).answer;
    expect(heard).toEqual([
      { progress: 1, total: 2, odd: true },
      { progress: 2, total: 2, odd: true },
    ]);
  });

  test("carries a hundred calls at once without mixing them up", async () => {
    const upstreams = serve(fixture);
    const texts = Array.from({ length: 100 }, (_, at) => String(at));
    const answers = await Promise.all(texts.map((text) => callOn(upstreams, "echo", { args: { text } }).answer));
    expect(answers.map(textOf)).toEqual(texts);
  });
});

describe("a child", () => {
  test("may write noise to stdout and flood stderr", async () => {
    const upstreams = serve(fixtureOverStdio("--noise", "--flood"));
    expect(textOf(await callOn(upstreams, "echo", { args: { text: "heard" } }).answer)).toBe("heard");
    await until(() => upstreams.stderr(upstreams.status()[0]?.id ?? "").length === 8192);
  });

  test("that is silent to server/discover is initialized instead", async () => {
    const found = await serve(fixtureOverStdio("--era", "legacy", "--deaf-to-discover")).discover("s", "1", never);
    expect(found.era).toBe("legacy");
  }, 15_000);

  test("gets no environment but PATH and what the file says", async () => {
    process.env["PORTCULLIS_TEST_SECRET"] = "not for children";
    const program = `require("node:readline").createInterface({input:process.stdin}).on("line",(l)=>{const{id,method}=JSON.parse(l);
      if(id===undefined)return;
      const result=method==="initialize"?{protocolVersion:"2025-11-25",capabilities:{tools:{}},serverInfo:{name:"e",version:"1"}}:{content:[{type:"text",text:JSON.stringify(Object.keys(process.env).sort())}]};
      console.log(JSON.stringify(method==="server/discover"?{jsonrpc:"2.0",id,error:{code:-32601,message:"no"}}:{jsonrpc:"2.0",id,result}))})`;
    const upstreams = serve(stdio(["-e", program], { env: { GIVEN: "1" } }));
    expect(textOf(await callOn(upstreams, "env").answer)).toBe('["GIVEN","PATH"]');
    delete process.env["PORTCULLIS_TEST_SECRET"];
  });

  test("that cannot be started is unavailable, and nothing was executed", async () => {
    const { came, call } = callOn(serve(stdio([], { command: "no-such-command-anywhere" })), "echo");
    expect([await came(), call.executed]).toEqual(["upstream_unavailable", "no"]);
  });

  test("that ends at once again and again is set aside", async () => {
    const upstreams = serve(stdio(["-e", "process.exit(1)"]), { backoffFirstMs: 10_000, backoffMaxMs: 10_000 });
    for (let calls = 0; calls < 3; calls++) await callOn(upstreams, "echo").came();
    expect(upstreams.status()).toMatchObject([{ state: "set_aside" }]);
  });

  test("that hangs is replaced by another once nobody waits for it", async () => {
    const program = `require("node:readline").createInterface({input:process.stdin}).on("line",(line)=>{
      const{id,method,params}=JSON.parse(line);
      if(id===undefined)return;
      if(params.name==="freeze")Atomics.wait(new Int32Array(new SharedArrayBuffer(4)),0,0);
      const result=method==="initialize"?{protocolVersion:"2025-11-25",capabilities:{},serverInfo:{name:"e",version:"1"}}:{content:[{type:"text",text:String(process.pid)}]};
      const answer=method==="server/discover"?{error:{code:-32601,message:"unknown"}}:{result};
      process.stdout.write(JSON.stringify({jsonrpc:"2.0",id,...answer})+"\\n")})`;
    const upstreams = serve(stdio(["-e", program]));
    const first = Number(textOf(await callOn(upstreams, "pid", { timeoutMs: 20_000 }).answer));
    expect(await callOn(upstreams, "freeze", { timeoutMs: 100 }).came()).toBe("upstream_timeout");
    await until(() => upstreams.status()[0]?.state === "set_aside");
    await until(() => upstreams.status()[0]?.state === "ready", 30_000);
    expect(Number(textOf(await callOn(upstreams, "pid").answer))).not.toBe(first);
    expect(running(first)).toBe(false);
  });

  test("goes with all its children when the gateway closes, even those that ignore TERM", async () => {
    const grandchild = `process.on("SIGTERM",()=>{});setInterval(()=>{},1000)`;
    const program = `const{spawn}=require("node:child_process");spawn(process.execPath,["-e",${JSON.stringify(grandchild)}],{stdio:"ignore"});
      process.on("SIGTERM",()=>{});process.stdin.resume();console.error("group "+process.pid);setInterval(()=>{},1000);`;
    const upstreams = serve(stdio(["-e", program]));
    const { came } = callOn(upstreams, "echo", { timeoutMs: 700 });
    const id = upstreams.status()[0]?.id ?? "";
    await until(() => /group \d+/.test(upstreams.stderr(id)));
    const group = Number(/group (\d+)/.exec(upstreams.stderr(id))?.[1]);
    await came();
    expect(running(group)).toBe(true);
    await upstreams.close();
    await until(() => !running(group), 10_000);
  }, 15_000);

  test("that ends by itself takes its children with it", async () => {
    const program = `const{spawn}=require("node:child_process");spawn(process.execPath,["-e","setInterval(()=>{},1000)"],{stdio:"ignore"});
      process.stdin.resume();console.error("group "+process.pid);setTimeout(()=>process.exit(0),200)`;
    const upstreams = serve(stdio(["-e", program]), { backoffFirstMs: 60_000, backoffMaxMs: 60_000 });
    const { came } = callOn(upstreams, "echo");
    const id = upstreams.status()[0]?.id ?? "";
    await until(() => /group \d+/.test(upstreams.stderr(id)));
    const group = Number(/group (\d+)/.exec(upstreams.stderr(id))?.[1]);
    expect(await came()).toBe("upstream_unavailable");
    await until(() => !running(group), 10_000);
  }, 15_000);

  test("is killed with its group at once when the gateway goes down", async () => {
    const upstreams = serve(stdio(["-e", 'console.error("group "+process.pid);process.stdin.resume()']));
    void callOn(upstreams, "echo", { timeoutMs: 300 });
    const id = upstreams.status()[0]?.id ?? "";
    await until(() => /group \d+/.test(upstreams.stderr(id)));
    const group = Number(/group (\d+)/.exec(upstreams.stderr(id))?.[1]);
    upstreams.abandon();
    await until(() => !running(group), 10_000);
  });

  test("is killed at once also while its last call keeps it from leaving", async () => {
    const upstreams = serve(stdio(["-e", 'console.error("group "+process.pid);setInterval(()=>{},1000)']));
    const { came } = callOn(upstreams, "echo", { timeoutMs: 2000 });
    const id = upstreams.status()[0]?.id ?? "";
    await until(() => /group \d+/.test(upstreams.stderr(id)));
    const group = Number(/group (\d+)/.exec(upstreams.stderr(id))?.[1]);
    upstreams.reconcile([]);
    let answered = false;
    void came().then(() => (answered = true));
    upstreams.abandon();
    await until(() => !running(group), 1000);
    expect(answered).toBe(false);
  });
});

describe("list_changed over stdio", () => {
  test.each(["modern", "legacy"] as const)("of a %s server is heard", async (era) => {
    const upstreams = serve(fixtureOverStdio("--era", era));
    let heard = 0;
    upstreams.onListChanged((server, version) => void (heard += Number(server === "s" && version === "1")));
    await upstreams.discover("s", "1", never);
    await callOn(upstreams, "list_changed").came();
    await until(() => heard === 1);
  });
});

describe("the reference servers of npm", () => {
  test("everything and filesystem are discovered and called", async () => {
    const everything = serve(stdio(["node_modules/@modelcontextprotocol/server-everything/dist/index.js"]));
    expect((await everything.discover("s", "1", never)).tools.length).toBeGreaterThan(10);
    expect(textOf(await callOn(everything, "echo", { args: { message: "hi" } }).answer)).toBe("Echo: hi");
    const files = serve(
      stdio(["node_modules/@modelcontextprotocol/server-filesystem/dist/index.js", import.meta.dirname]),
    );
    expect((await files.discover("s", "1", never)).tools.every((tool) => "outputSchema" in tool)).toBe(true);
    expect(textOf(await callOn(files, "list_allowed_directories").answer)).toContain(import.meta.dirname);
  });
});
