{{- define "grantd.name" -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "grantd.selector" -}}
app.kubernetes.io/name: grantd
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "grantd.labels" -}}
{{ include "grantd.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "grantd.probe" -}}
port: http
{{- if .Values.tls.secretName }}
scheme: HTTPS
{{- end }}
{{- end -}}
