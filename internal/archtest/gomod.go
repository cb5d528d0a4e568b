package archtest

import "golang.org/x/mod/modfile"

// checkRequirements: go.mod names as direct requirements what the source imports, tests included. (go mod tidy says it
// too, but fetches the tests of every dependency's dependency, which no mirror has all of.)
func checkRequirements(t *tree, goMod []byte) (found []violation, err error) {
	f, err := modfile.Parse("go.mod", goMod, nil)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, dir := range t.dirs() {
		for _, i := range t.imports(t.pkgs[dir]) {
			if _, ours := local(i.path); ours || standard(i.path) {
				continue
			}
			var module *modfile.Require
			for _, r := range f.Require {
				if below(i.path, r.Mod.Path) && (module == nil || len(r.Mod.Path) > len(module.Mod.Path)) {
					module = r
				}
			}
			switch {
			case module == nil:
				found = append(found, violation{i.where, dir + " imports " + i.path, "go.mod does not require it: go get it"})
			case module.Indirect && !seen[module.Mod.Path]:
				seen[module.Mod.Path] = true
				found = append(found, violation{"go.mod", module.Mod.Path + " is marked indirect", i.where + " imports it"})
			}
		}
	}
	for _, r := range f.Replace {
		found = append(found, violation{"go.mod", "replaces " + r.Old.Path, "whoever builds this gets something else than what is named"})
	}
	return found, nil
}
