/**
 * The promise: however often the policy is swapped under load, in force and in shadow, each call is decided by one of them
 * whole: what a record says was decided is what the revisions on it decide, and no call fails for a swap.
 */
import { expect, test } from "vitest";
import { refusing, stands } from "./support/stand.ts";

const FULL = process.env["FULL"] === "1";
const SWAPS = FULL ? 1_000 : 40;
const CALLERS = 4;
/** Each refuses one of them. */
const TEXTS = ["a", "b", "c", "d", "e"] as const;

const { stand } = stands();

type Said = { readonly revision: string; readonly decision: string; readonly flip?: string };

test(
  `${SWAPS} swaps under load decide no call wrongly`,
  async () => {
    // what a busy machine sheds says nothing of swaps
    const { gateway, admin, call } = await stand({ overload: { delay: "1h" } });
    const refuses = new Map<string, string>();
    const put = async (name: string, at: number): Promise<void> => {
      const text = TEXTS[at % TEXTS.length] ?? "";
      await admin.policies.put.mutate({ name, value: refusing(text) });
      const { policy } = gateway.gateway.snapshot();
      const now = name === "main" ? policy : policy?.shadows?.[0]?.policy;
      refuses.set(now?.revision ?? "", text);
    };
    await put("main", 0);
    await put("next", 1);
    const asked = new Map<string, { readonly text: string; readonly code: string }>();
    const load = { done: false };
    const caller = async (at: number): Promise<void> => {
      for (let turn = at; !load.done; turn++) {
        const text = TEXTS[turn % TEXTS.length] ?? "";
        const { code, callId } = await call(text);
        asked.set(callId ?? `none-${turn}`, { text, code });
      }
    };
    const callers = Array.from({ length: CALLERS }, (_, at) => caller(at));
    for (let swap = 0; swap < SWAPS; swap++) await put(swap % 4 === 3 ? "next" : "main", swap);
    load.done = true;
    await Promise.all(callers);

    const records = (await gateway.records()).filter(
      (one) => one["portcullis.operation"] === "tools/call" && one["portcullis.record"] !== "intent",
    );
    expect(records).toHaveLength(asked.size);
    const undecided = records.filter((one) => one["portcullis.decision"] === undefined);
    expect(undecided.map((one) => one["error.type"])).toEqual([]);
    const revisions = new Set<unknown>();
    for (const record of records) {
      const { text, code } = asked.get(String(record["portcullis.call.id"])) ?? { text: "", code: "unknown call" };
      const revision = String(record["portcullis.policy.revision"]);
      revisions.add(revision);
      const decision = refuses.get(revision) === text ? "deny" : "allow";
      const [shadow] = JSON.parse(String(record["portcullis.shadow"])) as readonly Said[];
      const other = refuses.get(shadow?.revision ?? "") === text ? "deny" : "allow";
      expect({ decision: record["portcullis.decision"], code, shadow: shadow?.decision, flip: shadow?.flip }).toEqual({
        decision,
        code: decision === "allow" ? "ok" : "forbidden",
        shadow: other,
        flip: decision === other ? undefined : decision === "allow" ? "allow_to_deny" : "deny_to_allow",
      });
    }
    expect([...revisions].every((one) => refuses.has(String(one)))).toBe(true);
    expect(revisions.size).toBe(TEXTS.length);
  },
  FULL ? 600_000 : 120_000,
);
