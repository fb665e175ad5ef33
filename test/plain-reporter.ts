import type { Reporter, TestCase, TestModule } from 'vitest/node';

/** Ends a run with the reasons of skipped tests and one plain line: `N passed, N failed, N skipped`. */
export default class PlainReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const of = (state: string) => tests.filter((test) => test.result().state === state);
    const reasons = new Map<string, number>();
    for (const test of of('skipped')) {
      const reason = reasonOf(test);
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    }
    for (const [reason, count] of reasons) console.log(`skipped ${count}: ${reason}`);
    const broken = modules.filter((module) => module.errors().length > 0).length + errors.length;
    console.log(`${of('passed').length} passed, ${of('failed').length + broken} failed, ${of('skipped').length} skipped`);
  }
}

/** The note of `context.skip(note)`, or the test's full name, whose title says why. */
function reasonOf(test: TestCase): string {
  const result = test.result();
  return (result.state === 'skipped' && result.note) || test.fullName;
}
