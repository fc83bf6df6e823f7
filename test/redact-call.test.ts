/** What policy hides of a call leaves by no way: neither in its answer, nor as progress, nor in the audit trail. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { modern, open } from "./mcp-door-client.ts";
import { discovered, fixtureServer, startGateway } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";

const SECRET = "ann.lee@mail.example.org";
const POLICY = `package portcullis

default decision := {"allow": false}

decision := {"allow": true, "obligations": {"redact": [{"pattern": "email"}]}} if input.principal.id == "alice"
`;

let folder: string;
let fixture: Fixture;
let gateway: TestGateway;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "portcullis-redact-"));
  await writeFile(join(folder, "p.rego"), POLICY);
  fixture = await startFixture({
    handlers: {
      echo: ({ args, notify, progressToken }) => {
        notify("notifications/progress", {
          progressToken,
          progress: 1,
          total: 2,
          message: `asking ${SECRET}`,
          odd: SECRET,
        });
        if (args["text"] === "fail") return { error: { code: -32000, message: `no ${SECRET}`, data: { who: SECRET } } };
        const isError = args["text"] === "err";
        // of so much nothing is looked for where calls are answered
        const text = `to ${SECRET} `.repeat(args["text"] === "be large" ? 20_000 : 1);
        return {
          result: { content: [{ type: "text", text }], structuredContent: { who: SECRET }, isError },
        };
      },
    },
  });
  gateway = await startGateway({ policies: folder, servers: [fixtureServer(fixture)] });
  await discovered(gateway, "fixture");
});
afterAll(async () => {
  await gateway.close();
  await fixture.close();
  await rm(folder, { recursive: true });
});

test.each(["work", "fail", "err", "be large"])("of a call that is to %s", async (text) => {
  const params = { name: "fixture__echo", arguments: { text }, _meta: { progressToken: "p" } };
  const answer = await (await open(gateway, modern("tools/call", params))).text();
  expect(answer).toContain("notifications/progress");
  expect(answer).toContain('"progress":1');
  expect(answer).toContain("[redacted]");
  expect(answer).not.toContain(SECRET);
  const records = JSON.stringify(await gateway.records());
  expect(records).toContain("fixture__echo");
  expect(records).not.toContain(SECRET);
});
