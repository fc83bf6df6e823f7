/** How much may one document ask? Each bound, at its edge and one beyond, and the bombs that are meant to pass them. */
import { getIntrospectionQuery, parse } from "graphql";
import { describe, expect, test } from "vitest";
import { assertBounded, parseBounded } from "../src/doors/graphql/guards.ts";

const times = (count: number, each: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => each(index)).join(" ");
const nested = (depth: number): string => `${"{a".repeat(depth)}${"}".repeat(depth)}`;

function refusalOf(source: string, variables = {}): string | null {
  try {
    assertBounded(parseBounded(parse, source), variables);
    return null;
  } catch (thrown) {
    expect(thrown).toMatchObject({
      name: "GraphQLError",
      extensions: { code: "invalid_request", http: { status: 400 } },
    });
    return (thrown as Error).message;
  }
}

describe("a document is refused beyond", () => {
  test("2,000 tokens", () => {
    // an argument's values are tokens and no fields; { a ( b : [ ] ) } are eight tokens besides
    expect(refusalOf(`{a(b:[${times(1991, () => "1")}])}`)).toBeNull();
    expect(refusalOf(`{a(b:[${times(1993, () => "1")}])}`)).toMatch("2000 tokens");
  });

  test("10 levels", () => {
    expect(refusalOf(nested(10))).toBeNull();
    expect(refusalOf(nested(11))).toMatch("10 deep");
  });

  test("10 levels, were they hidden in fragments", () => {
    expect(refusalOf(`{a{...F}} fragment F on X ${nested(9)}`)).toBeNull();
    expect(refusalOf(`{a{...F}} fragment F on X ${nested(10)}`)).toMatch("10 deep");
    expect(refusalOf(`{a{... on X ${nested(10)}}}`)).toMatch("10 deep");
  });

  test("500 fields, fragments written out", () => {
    expect(refusalOf(`{${times(500, () => "a")}}`)).toBeNull();
    expect(refusalOf(`{${times(501, () => "a")}}`)).toMatch("500 fields");
    expect(refusalOf(`{${times(51, () => "...F")}} fragment F on X {${times(10, () => "a")}}`)).toMatch("500 fields");
  });

  test("50 aliases", () => {
    expect(refusalOf(`{${times(50, (i) => `a${i}: a`)}}`)).toBeNull();
    expect(refusalOf(`{${times(51, (i) => `a${i}: a`)}}`)).toMatch("50 aliases");
  });

  test("20 calls of a tool, wherever at the root they are written", () => {
    const call = (index: number): string => `c${index}: callTool(tool: "x", arguments: {})`;
    expect(refusalOf(`mutation {${times(20, call)}}`)).toBeNull();
    expect(refusalOf(`mutation {${times(21, call)}}`)).toMatch("callTool more than 20");
    expect(refusalOf(`mutation {${times(20, call)} ...F} fragment F on Mutation {${call(20)}}`)).toMatch(
      "callTool more than 20",
    );
  });

  test("5 searches of the audit trail", () => {
    expect(refusalOf(`{${times(6, (i) => `c${i}: calls { totalCount }`)}}`)).toMatch("calls more than 5");
  });

  test("5 comparisons of a server's tools, wherever they are written", () => {
    const five = times(5, (i) => `c${i}: changes(from: "1", to: "2") { tool }`);
    expect(refusalOf(`{server(name: "a") {${five}}}`)).toBeNull();
    expect(refusalOf(`{a: server(name: "a") {${five}} b: server(name: "a") {changes { tool }}}`)).toMatch(
      "changes more than 5",
    );
  });

  test("an answer of 50,000 fields, by what its pages could hold", () => {
    const query = (inner: string): string =>
      `{tools(first: 100) {edges {node {server {tools(first: ${inner}) {edges {node {id name}}}}}}}}`;
    expect(refusalOf(query("100"))).toBeNull();
    expect(refusalOf(query("100").replace("id name", "id name version title digest"))).toMatch("50000 fields");
    expect(
      refusalOf(query("100").replace("id name", "id name version title digest").replace("first: 100", "first: 10")),
    ).toBeNull();
  });

  test("that, too, where the page sizes are variables", () => {
    const query =
      "query($n: Int) {tools(first: $n) {edges {node {server {tools(first: $n) {edges {node {id name version title digest}}}}}}}}";
    expect(refusalOf(query, { n: 20 })).toBeNull();
    expect(refusalOf(query, { n: 100 })).toMatch("50000 fields");
    expect(refusalOf(query, { n: -1 })).toMatch("50000 fields");
    expect(refusalOf(query)).toMatch("50000 fields");
  });
});

describe("a bomb goes off nowhere", () => {
  test("a circle of fragments without a field is refused", () => {
    expect(refusalOf("{...A} fragment A on X {...B} fragment B on X {...A}")).toMatch("contains itself");
    expect(refusalOf("{...A} fragment A on X {a {...A}}")).toMatch("contains itself");
  });

  test("fragments that double at each level are refused at the bound, not after", () => {
    const levels = times(60, (i) => `fragment F${i} on X {...F${i + 1} ...F${i + 1}}`);
    expect(refusalOf(`{...F0} ${levels} fragment F60 on X {a}`)).toMatch("1000 selections");
    // that end in nothing: not one field is ever counted
    expect(refusalOf(`{...F0} ${levels}`)).toMatch("1000 selections");
  });
});

describe("introspection", () => {
  test("by the standard query passes", () => {
    const options = {
      specifiedByUrl: true,
      directiveIsRepeatable: true,
      schemaDescription: true,
      inputValueDeprecation: true,
      oneOf: true,
    };
    expect(refusalOf(getIntrospectionQuery(options))).toBeNull();
    expect(refusalOf(getIntrospectionQuery())).toBeNull();
  });

  test("has its own depth, and only there", () => {
    expect(refusalOf(`{__schema ${nested(19)}}`)).toBeNull();
    expect(refusalOf(`{__schema ${nested(20)}}`)).toMatch("20 deep");
    expect(refusalOf(`{__schema {a} a ${nested(10)}}`)).toMatch("10 deep");
  });
});
