{{- define "tulle.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag }}
{{- end }}

{{- define "tulle.labels" -}}
app.kubernetes.io/name: tulle
{{- end }}

{{- define "tulle.netConf" -}}
{{- $net := dict "Backend" .Values.network.backend }}
{{- if .Values.network.podCidr }}
{{- $_ := set $net "Network" .Values.network.podCidr }}
{{- else }}
{{- $_ := set $net "EnableIPv4" false }}
{{- end }}
{{- if .Values.network.podCidrV6 }}
{{- $_ := set $net "EnableIPv6" true }}
{{- $_ := set $net "IPv6Network" .Values.network.podCidrV6 }}
{{- end }}
{{- toPrettyJson $net }}
{{- end }}

{{- define "tulle.cniConf" -}}
{
  "name": "tulle",
  "cniVersion": "1.0.0",
  "cniVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
  "plugins": [
    {"type": "tulle", "capabilities": {"bandwidth": true, "ips": true, "mac": true}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
{{- end }}
