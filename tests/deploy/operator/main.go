// Reads a ServiceMonitor or a PrometheusRule as YAML from standard input with the Prometheus Operator's own types, and
// refuses every field that these do not have. Kubernetes' schemas know neither kind.
package main

import (
	"fmt"
	"io"
	"os"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	if err := read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read(from io.Reader) error {
	text, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	var of struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := yaml.Unmarshal(text, &of); err != nil {
		return err
	}
	if want := monitoring.SchemeGroupVersion.String(); of.APIVersion != want {
		return fmt.Errorf("apiVersion %q is not %s", of.APIVersion, want)
	}
	switch of.Kind {
	case monitoring.ServiceMonitorsKind:
		return yaml.UnmarshalStrict(text, &monitoring.ServiceMonitor{})
	case monitoring.PrometheusRuleKind:
		return yaml.UnmarshalStrict(text, &monitoring.PrometheusRule{})
	}
	return fmt.Errorf("kind %q is none that is looked at here", of.Kind)
}
