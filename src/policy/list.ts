/**
 * Which of these tools may be listed? Asked in pieces, each within the steps of one decision, and other work of the event
 * loop goes on between them. A piece that does not come to an end, or faults, is asked again as smaller ones, down to
 * single tools: a tool whose own rules fault is missing alone, and a use of it faults just so. What surprises: a list that
 * takes too many steps as a whole is refused, for a tool that was not asked about cannot be left out: it might be callable.
 * Docs: docs/decisions/6-a-list-is-asked-in-pieces.md.
 */
import type { Evaluation, Json, JsonObject } from "../model.ts";
import type { Engine } from "./engine.ts";
import { LIST } from "./wrapper.ts";

/** By the tools' order: whether each is listed; null where its rules faulted. Short of some where the list is refused. */
export type Answers = readonly (boolean | null)[];
export type Listed = { readonly answers: Answers; readonly refused: Extract<Evaluation, { ok: false }> | null };

/** Tools asked about in one evaluation, which bounds its input and its memory. */
const TOOLS_MAX = 500;
/** Into how many a piece is divided. */
const PARTS = 8;
/** Decisions whose steps one list may take: about a second. */
const DECISIONS_MAX = 40;
/** What of the steps of a decision pieces may take before others have their turn. */
const SHARE_OF_A_TURN = 1 / 4;

/** One for each engine: however many lists are asked of it at a time, they take turns. */
export function createLister(engine: Engine): (input: JsonObject) => Promise<Listed> {
  const { stepsMax } = engine;
  let spent = 0;
  let last: Promise<void> = Promise.resolve();
  const turn = (): Promise<void> => {
    last = last.then(() => new Promise(setImmediate)).then(() => void (spent = 0));
    return last;
  };
  const isOver = (): boolean => spent > stepsMax * SHARE_OF_A_TURN;
  const ask = async (input: JsonObject, tools: readonly Json[]): Promise<Asked> => {
    // after one turn another list may have been first
    while (isOver()) await turn();
    const evaluation = engine.evaluate(LIST, { ...input, tools });
    // now: the engine's next evaluation may be somebody else's
    const steps = engine.steps();
    spent += steps;
    return { evaluation, steps };
  };
  return async (input) => {
    const { tools } = input;
    if (!Array.isArray(tools))
      return refusedFor([], { fault: "policy_error", detail: "the input has no list of tools" });
    return inPieces(tools as readonly Json[], { ask: (some) => ask(input, some), stepsMax });
  };
}

type Asked = { readonly evaluation: Evaluation; readonly steps: number };
type Asking = {
  readonly ask: (tools: readonly Json[]) => Promise<Asked>;
  readonly stepsMax: number;
};

async function inPieces(tools: readonly Json[], { ask, stepsMax }: Asking): Promise<Listed> {
  const answers: (boolean | null)[] = [];
  let most = TOOLS_MAX;
  let size = most;
  let left = stepsMax * DECISIONS_MAX;
  while (answers.length < tools.length) {
    if (left < stepsMax) return refusedFor(answers, { fault: "policy_budget", detail: "the list ran out of steps" });
    const some = tools.slice(answers.length, answers.length + size);
    const { evaluation, steps } = await ask(some);
    left -= steps;
    if (evaluation.ok) {
      const found = new Set(evaluation.value as readonly number[]);
      for (const at of some.keys()) answers.push(found.has(at));
      size = Math.min(size * 2, most);
    } else if (some.length === 1) {
      answers.push(null);
    } else {
      size = Math.ceil(some.length / PARTS);
      // the tools after these are likely to take as many steps; another fault is one tool's own
      if (evaluation.fault === "policy_budget") most = size;
    }
  }
  return { answers, refused: null };
}

function refusedFor(answers: Answers, why: Omit<Extract<Evaluation, { ok: false }>, "ok">): Listed {
  return { answers, refused: { ok: false, ...why } };
}
