// SPDX-License-Identifier: Apache-2.0

// Renders a chart: helm CHART NAMESPACE [VALUES.json]. What "helm template" prints, without a cluster and its client.
package main

import (
	"fmt"
	"os"
	"sort"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

func render(path, namespace, valuesFile string) (map[string]string, error) {
	chart, err := loader.Load(path)
	if err != nil {
		return nil, err
	}
	given := chartutil.Values{}
	if valuesFile != "" {
		if given, err = chartutil.ReadValuesFile(valuesFile); err != nil {
			return nil, err
		}
	}
	release := chartutil.ReleaseOptions{Name: "tulle", Namespace: namespace, IsInstall: true}
	values, err := chartutil.ToRenderValues(chart, given, release, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Engine{Strict: true}.Render(chart, values)
}

func main() {
	if len(os.Args) < 3 || len(os.Args) > 4 {
		fmt.Fprintln(os.Stderr, "usage: helm CHART NAMESPACE [VALUES]")
		os.Exit(2)
	}
	files, err := render(os.Args[1], os.Args[2], strings.Join(os.Args[3:], ""))
	if err != nil {
		fmt.Fprintln(os.Stderr, "helm:", err)
		os.Exit(1)
	}
	names := make([]string, 0, len(files))
	for name := range files {
		if strings.HasSuffix(name, ".yaml") {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Printf("---\n# Source: %s\n%s\n", name, files[name])
	}
}
