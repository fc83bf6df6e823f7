/** What sidecars ask of their control plane and tell it, and what it knows of them. Each a view like all others. */
import type { Gateway } from "./gateway.ts";
import type { Asked, JsonObject, Outcome, Target } from "./model.ts";
import { authorizeOperation } from "./policy/authorize.ts";
import { Refusal } from "./refusal.ts";
import { reportedTools } from "./registry/reported.ts";
import type { Reported } from "./registry/reported.ts";
import type { Feed, FeedEvent, FollowWish } from "./snapshot/feed.ts";
import type { Follower, Report } from "./snapshot/follower.ts";
import { viewed } from "./view.ts";

/** What follows this control plane, what is in force there, and what waits there to be accepted. */
export function listSidecars(
  gateway: Gateway,
  asked: Asked,
): Promise<Outcome<{ readonly sidecars: readonly Follower[]; readonly quarantined: readonly Reported[] }>> {
  return viewed(gateway, asked, "sidecars/list", (call) => {
    authorizeOperation(call, { kind: "server", name: "sidecars" });
    const { feed, effective, sidecars } = gateway.control;
    const quarantined = reportedTools(effective(), feed?.quarantined() ?? []);
    return { sidecars: sidecars(), quarantined };
  });
}

/** Each event is decided anew: a stream does not outlive its key. A refusal is the last. */
export function followSnapshot(
  gateway: Gateway,
  asked: Asked,
  wish: Omit<FollowWish, "signal">,
): Promise<Outcome<AsyncGenerator<Outcome<FeedEvent>, void>>> {
  return viewed(gateway, asked, "snapshot/follow", (call, { id }) => {
    authorizeOperation(call, SNAPSHOT);
    return decidedEach(gateway, asked, feedOf(gateway).follow(id, { ...wish, signal: asked.signal }));
  });
}

async function* decidedEach(
  gateway: Gateway,
  asked: Asked,
  events: AsyncGenerator<FeedEvent, void>,
): AsyncGenerator<Outcome<FeedEvent>, void> {
  for await (const value of events) {
    const decided = await viewed(gateway, asked, "snapshot/follow", (call) => {
      authorizeOperation(call, SNAPSHOT);
      return value;
    });
    yield decided;
    if (!decided.ok) return;
  }
}

/** What a sidecar made of the snapshot that it was sent. */
export function reportSnapshot(gateway: Gateway, asked: Asked, report: Report): Promise<Outcome<null>> {
  return viewed(gateway, asked, "snapshot/report", (call, { id }) => {
    authorizeOperation(call, SNAPSHOT);
    feedOf(gateway).report(id, report);
    return null;
  });
}

/** Keeps the records of a sidecar, in the order in which it wrote them. Resolves once they are on disk. */
export function gatherRecords(
  gateway: Gateway,
  asked: Asked,
  { file, spans }: { readonly file: string; readonly spans: readonly JsonObject[] },
): Promise<Outcome<null>> {
  return viewed(gateway, asked, "audit/gather", async (call, { id }) => {
    authorizeOperation(call, { kind: "calls", name: "records" });
    feedOf(gateway);
    await gateway.audit.gather(id, file, spans);
    return null;
  });
}

const SNAPSHOT: Target = { kind: "server", name: "snapshot" };

function feedOf({ control }: Gateway): Feed {
  if (control.feed === null) throw new Refusal("invalid_request", "This is a sidecar: nothing follows it.");
  return control.feed;
}
