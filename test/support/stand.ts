/** A gateway before a fixture, with policies that refuse one text each, and what becomes of calls there. */
import * as disk from "node:fs/promises";
import { resolve } from "node:path";
import { afterEach } from "vitest";
import { readBundle } from "../../src/policy/sources.ts";
import type { Bundle } from "../../src/policy/sources.ts";
import { DOORS } from "./ask.ts";
import { discovered, fixtureServer, KEYS, startGateway } from "./gateway.ts";
import type { TestGateway } from "./gateway.ts";
import { adminOf } from "./planes.ts";
import type { Admin } from "./planes.ts";
import { startFixture } from "./upstreams/fixture.ts";

export const SHIPPED = await readBundle(disk, resolve(import.meta.dirname, "../../policies"));

/** A rule about arguments beside the shipped decision: a use whose text is this one is refused. */
export const refusing = (text: string, more: Partial<Bundle> = {}): Bundle => ({
  modules: {
    "arguments.rego": `package portcullis.arguments

proved if {
	input.target.kind == "tool"
	input.arguments.text != "${text}"
}

proved if input.request.operation == "tools/list"

proved if input.target.kind != "tool"
`,
    "portcullis.rego": SHIPPED.modules["portcullis.rego"] ?? "",
  },
  tests: {},
  data: {},
  ...more,
});

/** Allows every use, on these terms; a list too. */
export const allowing = (obligations: string): Bundle => ({
  modules: {
    "portcullis.rego": `package portcullis

default decision := {"allow": false}

decision := {"allow": true, "reasons": ["all"], "obligations": ${obligations}} if input.request.time != ""
`,
  },
  tests: {},
  data: {},
});

/** As shipped, but whoever may read the trail reads the rows of this kind. */
export const withRows = (kind: string): Bundle => ({
  ...SHIPPED,
  tests: {},
  modules: {
    ...SHIPPED.modules,
    "portcullis.rego": (SHIPPED.modules["portcullis.rego"] ?? "").replace('{"rows": "all"}', `{"rows": "${kind}"}`),
  },
});

export type Stand = {
  readonly gateway: TestGateway;
  readonly admin: Admin;
  /** Code and id of a call of `echo`. */
  readonly call: (text: string, key?: string) => Promise<{ readonly code: string; readonly callId: string | null }>;
};
export type Stands = {
  readonly stand: (changes?: object) => Promise<Stand>;
  /** What is closed when the test ends, the latest first. */
  readonly open: (() => Promise<unknown>)[];
};

export function stands(): Stands {
  const open: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const close of open.splice(0).toReversed()) await close();
  });
  return {
    open,
    stand: async (changes = {}) => {
      const fixture = await startFixture();
      open.push(fixture.close);
      const server = fixtureServer(fixture, { audit: { arguments: "full" } });
      const gateway = await startGateway({ servers: [server], policies: "managed", ...changes });
      open.push(gateway.close);
      await discovered(gateway, "fixture");
      return { gateway, admin: adminOf(gateway), call: caller(gateway) };
    },
  };
}

export function caller(gateway: TestGateway): Stand["call"] {
  return (text, key = KEYS.alice) => DOORS["rest"]!(gateway, { key, tool: "echo", arguments: { text } });
}
