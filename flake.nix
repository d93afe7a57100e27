# For those who have Nix: `nix run . -- build examples/hello`, `nix develop`. Nobody else needs it: cargo is enough.
{
  description = "Container images that are the same, bit for bit, on every machine";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" ];
      each = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
    in
    {
      packages = each (pkgs: {
        default = pkgs.rustPlatform.buildRustPackage {
          pname = "reimage";
          version = (nixpkgs.lib.importTOML ./Cargo.toml).workspace.package.version;
          src = self;
          cargoLock.lockFile = ./Cargo.lock;
          buildType = "dist";
          # The tests build images with the machine's user namespaces and package mirrors: `cargo xtask test`.
          doCheck = false;
          meta.mainProgram = "reimage";
        };
      });

      devShells = each (pkgs: {
        default = pkgs.mkShell {
          packages = with pkgs; [
            bubblewrap
            cargo
            clippy
            crun
            rust-analyzer
            rustc
            rustfmt
            skopeo
            umoci
          ];
        };
      });
    };
}
