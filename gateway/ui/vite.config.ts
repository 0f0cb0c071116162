// Builds the page into `dist/`, which is committed: cargo embeds it and needs no Node.
//
// **The output is a pure function of the sources and package-lock.json**: fixed file names, no
// timestamps, no source maps, so that a rebuild can be compared byte for byte.
import { readFileSync } from 'node:fs';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig, type Plugin } from 'vite';

const MAPLIBRE = 'node_modules/maplibre-gl/';

/**
 * Ships MapLibre as the two ES modules its authors publish instead of bundling them: a bundled
 * copy looks for its worker next to the wrong file and then hangs without an error.
 * `src/map/engine.ts` names the worker explicitly.
 */
function vendoredMapLibre(): Plugin {
  const files: Record<string, string> = {
    'vendor/maplibre-gl.mjs': `${MAPLIBRE}dist/maplibre-gl.mjs`,
    'vendor/maplibre-gl-worker.mjs': `${MAPLIBRE}dist/maplibre-gl-worker.mjs`,
    'vendor/maplibre-gl.LICENSE.txt': `${MAPLIBRE}LICENSE.txt`,
    'vendor/inter.LICENSE.txt': 'node_modules/@fontsource-variable/inter/LICENSE',
    'vendor/svelte.LICENSE.txt': 'node_modules/svelte/LICENSE.md',
    'vendor/natural-earth-atlas.LICENSE.txt': 'node_modules/world-atlas/LICENSE',
  };
  return {
    name: 'vendored-maplibre',
    enforce: 'pre',
    resolveId: (source) =>
      source === 'maplibre-gl' ? { id: '/vendor/maplibre-gl.mjs', external: 'absolute' } : null,
    generateBundle() {
      for (const [fileName, path] of Object.entries(files)) {
        this.emitFile({ type: 'asset', fileName, source: readFileSync(path) });
      }
    },
  };
}

export default defineConfig({
  plugins: [vendoredMapLibre(), svelte()],
  build: {
    target: 'es2023',
    modulePreload: { polyfill: false },
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    rolldownOptions: {
      output: {
        entryFileNames: 'assets/app.js',
        chunkFileNames: 'assets/[name].js',
        assetFileNames: 'assets/[name][extname]',
      },
    },
  },
});
