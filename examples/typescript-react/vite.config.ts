import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// `cupola serve` serves the folder `public`: the built page goes there.
export default defineConfig({
  plugins: [react()],
  publicDir: false,
  build: { outDir: "public" },
});
