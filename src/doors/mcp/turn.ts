/** One message at one endpoint: who may know that the endpoint is there, and how a message is refused. */
import { refuse } from "../../call.ts";
import type { Gateway } from "../../gateway.ts";
import type { Asked, JsonObject, Outcome, Principal, Snapshot } from "../../model.ts";
import { Refusal } from "../../refusal.ts";
import { identify, listTools } from "../../view.ts";
import type { VisibleTools } from "../../view.ts";
import type { Exchange } from "../exchange.ts";
import { versionAt } from "./endpoint.ts";
import type { Endpoint } from "./endpoint.ts";
import { idOf } from "./message.ts";
import type { Id, Reply, Request } from "./message.ts";
import { refusalReply } from "./render.ts";
import type { Dialect } from "./render.ts";

export type Turn = {
  readonly gateway: Gateway;
  readonly exchange: Exchange;
  readonly endpoint: Endpoint;
  readonly dialect: Dialect;
  readonly asked: Asked;
  /** What the gateway says of itself. */
  readonly own: JsonObject;
  /** Opens the event stream of this message's answer; null where progress cannot be shown. */
  readonly stream: Exchange["stream"] | null;
};

/** Null: the answer has gone out on an event stream. */
export type Handler = (turn: Turn, request: Request) => Promise<Reply | null>;
export type Handlers = { readonly [method: string]: Handler };

type Entering = Pick<Turn, "gateway" | "endpoint" | "asked">;

/** Authenticates; refuses an endpoint that is not there, or that this principal may not know of. */
export async function enter(turn: Entering): Promise<Outcome<{ principal: Principal; snapshot: Snapshot }>> {
  const { gateway, endpoint, asked } = turn;
  const isOpen = gateway.snapshot().settings.disclosure === "open" && isThere(turn);
  return endpoint.server === null || isOpen ? identify(gateway, asked) : visible(turn);
}

/** The tools at this endpoint that policy lets this principal see, as `enter` does. */
export async function visible(turn: Entering): Promise<Outcome<VisibleTools>> {
  const { gateway, endpoint, asked } = turn;
  if (!isThere(turn)) return refuse(gateway, asked, notThere());
  const outcome = await listTools(gateway, asked, endpoint);
  if (!outcome.ok || endpoint.server === null || outcome.value.tools.length > 0) return outcome;
  const isHidden = outcome.value.snapshot.settings.disclosure === "hidden";
  return isHidden ? refuse(gateway, asked, notThere()) : outcome;
}

export function isThere({ gateway, endpoint }: Entering): boolean {
  return endpoint.server === null || versionAt(gateway.snapshot(), endpoint, null) !== undefined;
}

export function notThere(): Refusal {
  return new Refusal("invalid_request", "There is nothing at this path.", { status: 404, rpc: { code: -32600 } });
}

type Refused = Pick<Turn, "gateway" | "asked"> & { readonly exchange: Pick<Exchange, "body"> };

/** Records the refusal, and renders it for the id that the body has. */
export async function refused(
  { gateway, asked, exchange }: Refused,
  refusal: Refusal,
  id: Id | null = idOf(exchange.body),
): Promise<Reply> {
  const outcome = await refuse(gateway, asked, refusal);
  if (outcome.ok) throw new Error("What was refused was done.");
  return refusalReply(id, outcome);
}

/** For what clients probe for as a matter of course, and what nobody is denied: answered, but no refusal to record. */
export async function declined({ gateway, asked, exchange }: Refused, refusal: Refusal): Promise<Reply> {
  const outcome = await identify(gateway, asked);
  return refusalReply(idOf(exchange.body), outcome.ok ? { call: outcome.call, refusal } : outcome);
}
