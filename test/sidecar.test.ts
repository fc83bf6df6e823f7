/**
 * The promise: a sidecar serves what its control plane says, from a signed snapshot, and goes on with the last one when
 * the control plane is gone. What is revoked there is revoked here.
 */
import { afterEach, describe, expect, test } from "vitest";
import { DOORS } from "./support/ask.ts";
import { discovered, fixtureServer, keyOf, KEYS, until } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { adminOf, startControl, startSidecar } from "./support/planes.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close();
});

async function planes(): Promise<{ control: TestGateway; sidecar: TestGateway }> {
  const fixture = await startFixture();
  open.push(fixture.close);
  const control = await startControl({ servers: [fixtureServer(fixture)] });
  open.push(control.close);
  await discovered(control, "fixture");
  const sidecar = await startSidecar(control);
  open.push(sidecar.close);
  await until(() => sidecar.gateway.snapshot().revision === control.gateway.snapshot().revision, "the same revision");
  return { control, sidecar };
}

const echo = (gateway: TestGateway, key: string, door = "rest") =>
  DOORS[door]!(gateway, { key, tool: "echo", arguments: { text: "x" } });

describe("a sidecar", () => {
  test("answers at every door what its control plane's snapshot says, under the same revision", async () => {
    const { control, sidecar } = await planes();
    for (const door of Object.keys(DOORS))
      expect(await echo(sidecar, KEYS.alice, door), door).toMatchObject({ code: "ok" });
    expect(await echo(sidecar, KEYS.ada)).toMatchObject({ code: "forbidden" });
    expect(await echo(sidecar, keyOf("mallory"))).toMatchObject({ code: "unauthenticated" });
    expect(sidecar.gateway.snapshot().revision).toBe(control.gateway.snapshot().revision);
  });
  test("follows a change within moments", async () => {
    const { control, sidecar } = await planes();
    await adminOf(control).roles.put.mutate({ role: "auditor-of-demo", permissions: ["demo:use"] });
    await until(() => "auditor-of-demo" in sidecar.gateway.snapshot().roles, "the role is there", 5_000);
  });
});
