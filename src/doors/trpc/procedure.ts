/**
 * How does an admin procedure reach a verb, and how does a refusal leave? One operation per request. What surprises:
 * tRPC's own faults (input that does not parse, a bug in a resolver) also become refusals of the verb `refuse`, so
 * that they are authenticated first, recorded, and carry a call id like every other.
 */
import { TRPCError, initTRPC } from "@trpc/server";
import type { TRPC_ERROR_CODE_NUMBER } from "@trpc/server/rpc";
import { z } from "zod";
import { refuse } from "../../call.ts";
import type { Gateway } from "../../gateway.ts";
import type { Asked, Call, JsonObject, Outcome } from "../../model.ts";
import { REFUSALS, Refusal } from "../../refusal.ts";
import { refusalBody, statusOf } from "../render.ts";

export type Context = {
  readonly gateway: Gateway;
  readonly asked: Asked;
  /** The call that this request became, once its verb has answered: its id and limits go into the headers. */
  call: Call | null;
};
type RefusedOutcome = Outcome<unknown> & { readonly ok: false };

/** Carries a refusal through tRPC, which knows only its own errors. */
export class Refused extends TRPCError {
  readonly outcome: RefusedOutcome;

  constructor(outcome: RefusedOutcome) {
    super({ code: REFUSALS[outcome.refusal.code].trpc, message: outcome.refusal.message });
    this.outcome = outcome;
  }
}

const t = initTRPC.context<Context>().create({
  // never a stack, whatever NODE_ENV says
  isDev: false,
  errorFormatter: ({ error, shape }): ErrorShape =>
    error instanceof Refused
      ? errorShape(error.outcome)
      : { code: shape.code, message: "The gateway failed.", data: { code: error.code, portcullis: null } },
});

export const { router } = t;

export const procedure = t.procedure.use(async ({ ctx, next }) => {
  const result = await next();
  if (result.ok || result.error instanceof Refused) return result;
  const outcome = await refuse(ctx.gateway, ctx.asked, refusalOf(result.error));
  if (!outcome.ok) throw refused(ctx, outcome);
  return result;
});

/** The value of a verb's outcome. @throws Refused */
export async function settle<Value>(ctx: Context, outcome: Promise<Outcome<Value>>): Promise<Value> {
  const settled = await outcome;
  if (!settled.ok) throw refused(ctx, settled);
  ctx.call = settled.call;
  return settled.value;
}

/** A subscription's values, until one is refused. @throws Refused */
export async function* events<Value>(
  ctx: Context,
  outcomes: AsyncIterable<Outcome<Value>>,
): AsyncGenerator<Value, void> {
  for await (const outcome of outcomes) yield await settle(ctx, Promise.resolve(outcome));
}

type ErrorShape = {
  readonly code: TRPC_ERROR_CODE_NUMBER;
  readonly message: string;
  readonly data: { readonly code: string; readonly httpStatus?: number; readonly portcullis: JsonObject | null };
};

/** tRPC's error envelope, with what every door tells about a refusal as `data.portcullis`. */
export function errorShape({ refusal, call }: RefusedOutcome): ErrorShape {
  const { rpc, trpc } = REFUSALS[refusal.code];
  const data = { code: trpc, httpStatus: statusOf(refusal), portcullis: refusalBody(refusal, call) };
  // our numbers: some of tRPC's own lie in the range that MCP keeps for itself
  return { code: rpc as number as TRPC_ERROR_CODE_NUMBER, message: refusal.message, data };
}

function refused(ctx: Context, outcome: RefusedOutcome): Refused {
  ctx.call = outcome.call;
  return new Refused(outcome);
}

function refusalOf(error: TRPCError): Refusal {
  if (!(error.cause instanceof z.ZodError)) return Refusal.from(error.cause ?? error);
  const errors = error.cause.issues.map(({ path, message }) => ({ pointer: pointer(path), message }));
  return new Refusal("invalid_request", "The input is not what this procedure takes.", { errors });
}

function pointer(path: readonly PropertyKey[]): string {
  return path.map((step) => `/${String(step).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
}
