{{- define "weighbridge.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $given := default (ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name)) .Values.fullnameOverride -}}
{{- /* "-headless" must fit, too, and "-0" behind it */ -}}
{{- $given | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "weighbridge.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "weighbridge.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "weighbridge.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "weighbridge.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "weighbridge.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "weighbridge.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end }}

{{- /* Bytes of a Kubernetes quantity such as 3Gi, 1500M or 2.5Gi, as a whole number. */ -}}
{{- define "weighbridge.bytes" -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $text := toString . -}}
{{- $number := regexFind "^[0-9]+(\\.[0-9]+)?([eE][+]?[0-9]+)?" $text -}}
{{- $unit := trimPrefix $number $text -}}
{{- if or (not $number) (not (hasKey $units $unit)) -}}
{{- fail (printf "%q is no quantity of bytes such as 3Gi" $text) -}}
{{- end -}}
{{- mulf (float64 $number) (get $units $unit) | floor | int64 -}}
{{- end }}

{{- /* The settings that the pod runs with: what the chart derives, and `config` over it. As YAML. */ -}}
{{- define "weighbridge.config" -}}
{{- $limit := dig "limits" "memory" "" .Values.resources -}}
{{- if not $limit -}}
{{- fail "resources.limits.memory is needed: the bridge's and the engine's limits are derived from it" -}}
{{- end -}}
{{- $memory := include "weighbridge.bytes" $limit | int64 -}}
{{- $disk := include "weighbridge.bytes" .Values.persistence.size | int64 -}}
{{- $own := dig "exporter" "sinks" nil .Values.config -}}
{{- $sinks := default (list (dict "name" "store" "type" "clickhouse" "dsn" "chdb:///var/lib/weighbridge/store")) $own -}}
{{- $embedded := false -}}
{{- $with := list -}}
{{- range $sinks -}}
{{-   $sink := deepCopy . -}}
{{-   if and (eq (toString $sink.type) "clickhouse") (hasPrefix "chdb:" (toString $sink.dsn)) -}}
{{-     $embedded = true -}}
{{- /* Fifteen 32nds: resident memory overshoots by a third, and a third is left to the bridge. */ -}}
{{-     $engine := dict "max_memory_bytes" (div (mul $memory 15) 32) "reader_max_memory_bytes" (div (mul $memory 3) 16) "mark_cache_bytes" (div $memory 12) "index_mark_cache_bytes" (div $memory 48) "primary_index_cache_bytes" (div $memory 24) -}}
{{-     $_ := set $sink "engine" (mergeOverwrite $engine (default (dict) $sink.engine)) -}}
{{-   end -}}
{{-   $with = append $with $sink -}}
{{- end -}}
{{- if and $embedded (lt $memory 2147483648) -}}
{{- fail (printf "resources.limits.memory %s is too little for an embedded store: at least 2Gi" $limit) -}}
{{- end -}}
{{- if and $embedded (gt (int .Values.replicaCount) 1) -}}
{{- fail "an embedded store belongs to one pod: name a ClickHouse server in config.exporter.sinks, or set replicaCount to 1" -}}
{{- end -}}
{{- $name := include "weighbridge.fullname" . -}}
{{- $hosts := list -}}
{{- range list $name (printf "%s-headless" $name) -}}
{{-   $hosts = concat $hosts (list . (printf "%s.%s" . $.Release.Namespace) (printf "%s.%s.svc" . $.Release.Namespace) (printf "%s.%s.svc.cluster.local" . $.Release.Namespace)) -}}
{{- end -}}
{{- $receiver := dict "endpoint" "0.0.0.0:4318" "max_in_flight_bytes" (div $memory (ternary 24 8 $embedded)) -}}
{{- if or .Values.keys.existingSecret .Values.keys.values -}}
{{- $_ := set $receiver "auth" (dict "keys_file" (printf "/etc/weighbridge/keys/%s" .Values.keys.secretKey)) -}}
{{- end -}}
{{- if .Values.tls.existingSecret -}}
{{- $tls := dict "certificate_file" "/etc/weighbridge/tls/tls.crt" "private_key_file" "/etc/weighbridge/tls/tls.key" -}}
{{- if .Values.tls.clientCa -}}{{- $_ := set $tls "client_ca_file" "/etc/weighbridge/tls/ca.crt" -}}{{- end -}}
{{- $_ := set $receiver "tls" $tls -}}
{{- end -}}
{{- $spool := dict "directory" "/var/lib/weighbridge/spool" "max_bytes" (ternary (div $disk 4) (div (mul $disk 4) 5) $embedded) -}}
{{- $chart := dict "receiver" $receiver "spool" $spool "exporter" (dict "memory_bytes" (div $memory (ternary 64 20 $embedded))) "admin" (dict "endpoint" "0.0.0.0:13133" "allowed_hosts" $hosts) -}}
{{- $config := deepCopy .Values.config -}}
{{- if hasKey $config "lanes" -}}
{{-   $lanes := ternary $config.lanes (dict "count" $config.lanes) (kindIs "map" $config.lanes) -}}
{{-   if kindIs "string" (get $lanes "count") -}}
{{-     fail "config.lanes: write a number; the memory of the pod is shared out among the lanes" -}}
{{-   end -}}
{{-   $count := int (get $lanes "count") -}}
{{-   if $count -}}
{{- /* A quarter of the memory beside an engine, seven tenths without one; the door has the rest. */ -}}
{{-     $each := div (div (mul $memory (ternary 25 70 $embedded)) 100) $count -}}
{{-     if lt $each 268435456 -}}
{{-       fail (printf "resources.limits.memory %s is too little for %d lanes: 256Mi are left for each at least" $limit $count) -}}
{{-     end -}}
{{-     $_ := set $chart "lanes" (dict "memory_bytes" $each) -}}
{{-   end -}}
{{-   $_ := set $config "lanes" $lanes -}}
{{- end -}}
{{- $all := mergeOverwrite $chart $config -}}
{{- $_ := set $all.exporter "sinks" $with -}}
{{- if not (hasSuffix ":4318" $all.receiver.endpoint) -}}{{- fail "config.receiver.endpoint: the chart's port is 4318; service.port is the one that senders see" -}}{{- end -}}
{{- if not (hasSuffix ":13133" $all.admin.endpoint) -}}{{- fail "config.admin.endpoint: the chart's port is 13133, for probes and Prometheus" -}}{{- end -}}
{{- range list $all.receiver.endpoint $all.admin.endpoint -}}
{{- if regexMatch "^(127\\.|localhost|\\[::1\\])" . -}}{{- fail (printf "config: %s cannot be reached from outside the pod; leave it out, or write 0.0.0.0" .) -}}{{- end -}}
{{- end -}}
{{ toYaml $all }}
{{- end }}
