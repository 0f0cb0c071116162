// Styles go to a file (never into the page by script): the content security policy forbids inline
// styles.
export default {
  compilerOptions: { runes: true, css: 'external' },
};
