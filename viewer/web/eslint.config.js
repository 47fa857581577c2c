// Rules for every script of the page and for its tests.

import js from "@eslint/js";
import globals from "globals";

export default [
  js.configs.recommended,
  { rules: { "no-unused-vars": ["error", { ignoreRestSiblings: true }] } },
  { files: ["viewer/web/*.js"], languageOptions: { globals: globals.browser } },
  { files: ["tests/web/*.mjs"], languageOptions: { globals: globals.node } },
];
