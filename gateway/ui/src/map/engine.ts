/**
 * MapLibre, as its authors' own ES modules (vite.config.ts copies them to `vendor/`). The worker is
 * named here because it is never looked for in the right place by itself; it is a file of this
 * origin, so `worker-src 'self'` is enough and no `blob:` is needed.
 */
import * as maplibre from 'maplibre-gl';

maplibre.setWorkerUrl('/vendor/maplibre-gl-worker.mjs');

export { maplibre };
