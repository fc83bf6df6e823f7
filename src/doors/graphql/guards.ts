/**
 * How much may one document ask? Counted on the document as it would be executed, fragments written out, and before
 * graphql's own validation, whose rules grow with the square of the fields. What surprises: the walk itself is the
 * thing to attack (fragments that double at each level), so every selection counts and the walk stops at the bound.
 */
import type {
  DocumentNode,
  FieldNode,
  FragmentDefinitionNode,
  GraphQLError,
  SelectionNode,
  SelectionSetNode,
} from "graphql";
import { createGraphQLError } from "graphql-yoga";

const TOKENS_MAX = 2000;
const DEPTH_MAX = 10;
/** The standard introspection query is 15 deep; graphql's own rule cuts what nests lists in lists. */
const INTROSPECTION_DEPTH_MAX = 20;
const FIELDS_MAX = 500;
const SELECTIONS_MAX = 1000;
const ALIASES_MAX = 50;
/** Fields of the answer, were every page full. */
const ANSWER_FIELDS_MAX = 50_000;
/** Of one field, wherever it stands: each is a call, a search of the audit trail, or a comparison of all of a server's tools. */
const NAMED_MAX: { readonly [field: string]: number } = { callTool: 20, calls: 5, callStats: 5, changes: 5 };
const CONNECTIONS = new Set(["tools", "servers", "calls"]);
export const PAGE_SIZE = 50;
export const PAGE_SIZE_MAX = 100;

type Variables = { readonly [name: string]: unknown };
type Walk = {
  readonly fragments: ReadonlyMap<string, FragmentDefinitionNode>;
  readonly variables: Variables;
  readonly counted: { fields: number; selections: number; aliases: number; answer: number };
  readonly named: Map<string, number>;
};
type Place = {
  readonly depth: number;
  readonly depthMax: number;
  /** How often this selection is resolved, and how many edges the nearest connection has at most. */
  readonly times: number;
  readonly pageSize: number;
  readonly open: readonly string[];
};

type Parse = (source: string, options: { readonly maxTokens: number }) => DocumentNode;

/** @throws GraphQLError, also for a document with too many tokens */
export function parseBounded(parse: Parse, source: string): DocumentNode {
  try {
    return parse(source, { maxTokens: TOKENS_MAX });
  } catch (fault) {
    if (!(fault instanceof Error) || !fault.message.includes("Parsing aborted")) throw fault;
    throw tooMuch(`The document has more than ${TOKENS_MAX} tokens.`);
  }
}

/** @throws GraphQLError naming the bound */
export function assertBounded(document: DocumentNode, variables: Variables): void {
  const fragments = new Map(
    document.definitions.filter((one) => one.kind === "FragmentDefinition").map((one) => [one.name.value, one]),
  );
  const walk: Walk = {
    fragments,
    variables,
    counted: { fields: 0, selections: 0, aliases: 0, answer: 0 },
    named: new Map(),
  };
  for (const one of document.definitions) {
    if (one.kind !== "OperationDefinition") continue;
    const top: Place = { depth: 1, depthMax: DEPTH_MAX, times: 1, pageSize: PAGE_SIZE, open: [] };
    visit(one.selectionSet, walk, top);
  }
}

function visit(set: SelectionSetNode, walk: Walk, place: Place): void {
  for (const selection of set.selections) {
    if (++walk.counted.selections > SELECTIONS_MAX)
      throw tooMuch(`The document has more than ${SELECTIONS_MAX} selections.`);
    if (selection.kind === "Field") countField(selection, walk, place);
    else visitFragment(selection, walk, place);
  }
}

function visitFragment(selection: Exclude<SelectionNode, FieldNode>, walk: Walk, place: Place): void {
  if (selection.kind === "InlineFragment") return visit(selection.selectionSet, walk, place);
  const name = selection.name.value;
  // a circle would never reach a field, and so never a bound on fields
  if (place.open.includes(name)) throw tooMuch("A fragment contains itself.");
  const fragment = walk.fragments.get(name);
  if (fragment !== undefined) visit(fragment.selectionSet, walk, { ...place, open: [...place.open, name] });
}

function countField(field: FieldNode, walk: Walk, place: Place): void {
  const { counted } = walk;
  const name = field.name.value;
  countNamed(walk.named, name);
  const depthMax = name === "__schema" || name === "__type" ? INTROSPECTION_DEPTH_MAX : place.depthMax;
  if (++counted.fields > FIELDS_MAX) throw tooMuch(`The document has more than ${FIELDS_MAX} fields.`);
  if (field.alias !== undefined && ++counted.aliases > ALIASES_MAX)
    throw tooMuch(`The document has more than ${ALIASES_MAX} aliases.`);
  if (place.depth > depthMax) throw tooMuch(`The document is more than ${depthMax} deep.`);
  counted.answer += place.times;
  if (counted.answer > ANSWER_FIELDS_MAX)
    throw tooMuch(`The answer could have more than ${ANSWER_FIELDS_MAX} fields: ask for smaller pages.`);
  if (field.selectionSet === undefined) return;
  const times = name === "edges" ? place.times * place.pageSize : place.times;
  const pageSize = CONNECTIONS.has(name) ? pageSizeOf(field, walk.variables) : place.pageSize;
  visit(field.selectionSet, walk, { ...place, depth: place.depth + 1, depthMax, times, pageSize });
}

/** Not a check: whatever is no page size is refused where it is used. */
function pageSizeOf(field: FieldNode, variables: Variables): number {
  const value = field.arguments?.find((argument) => argument.name.value === "first")?.value;
  if (value === undefined) return PAGE_SIZE;
  const given =
    value.kind === "IntValue" ? Number(value.value) : value.kind === "Variable" ? variables[value.name.value] : null;
  return typeof given === "number" && given >= 0 && given < PAGE_SIZE_MAX ? given : PAGE_SIZE_MAX;
}

function countNamed(named: Map<string, number>, name: string): void {
  const most = Object.hasOwn(NAMED_MAX, name) ? NAMED_MAX[name] : undefined;
  if (most === undefined) return;
  const count = (named.get(name) ?? 0) + 1;
  named.set(name, count);
  if (count > most) throw tooMuch(`The document asks for ${name} more than ${most} times.`);
}

function tooMuch(message: string): GraphQLError {
  return createGraphQLError(message, { extensions: { code: "invalid_request", http: { status: 400 } } });
}
