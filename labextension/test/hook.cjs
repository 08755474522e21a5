// Has Node read our TypeScript, and gives models what little of a browser they ask for.
const { readFileSync } = require('node:fs');
const ts = require('typescript');

const options = {
  esModuleInterop: true,
  jsx: ts.JsxEmit.React,
  module: ts.ModuleKind.CommonJS,
  target: ts.ScriptTarget.ES2020
};
for (const extension of ['.ts', '.tsx']) {
  require.extensions[extension] = (module, fileName) => {
    const source = readFileSync(fileName, 'utf8');
    module._compile(
      ts.transpileModule(source, { compilerOptions: options, fileName }).outputText,
      fileName
    );
  };
}
require.extensions['.svg'] = module => {
  module.exports = '<svg/>';
};
// It looks whether it is in a browser once, and is not.
require('@jupyterlab/services');
globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
