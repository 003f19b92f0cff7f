# SPDX-License-Identifier: Apache-2.0
"""The two web servers of the demo, from Debian's packages, each with the least configuration and a page that names itself."""

from . import wait

NGINX = """daemon off;
pid {dir}/nginx.pid;
error_log stderr;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  server {{ listen 80; listen [::]:80; root {dir}/www; }}
}}
"""

APACHE = """ServerRoot /usr/lib/apache2
ServerName {name}
PidFile {dir}/apache2.pid
DefaultRuntimeDir {dir}
Mutex file:{dir}
ErrorLog /dev/stderr
LoadModule mpm_event_module modules/mod_mpm_event.so
LoadModule authz_core_module modules/mod_authz_core.so
LoadModule dir_module modules/mod_dir.so
User www-data
Group www-data
StartServers 1
ServerLimit 1
ThreadsPerChild 4
MaxRequestWorkers 4
Listen 80
DocumentRoot {dir}/www
<Directory {dir}/www>
  Require all granted
</Directory>
"""

SERVERS = {"nginx": ("nginx", NGINX, ["nginx", "-c", "{dir}/conf", "-e", "stderr"]),
           "apache": ("Apache httpd", APACHE, ["apache2", "-f", "{dir}/conf", "-D", "FOREGROUND"])}


def page(kind: str, pod) -> str:
    return f"Welcome! This is {SERVERS[kind][0]} in pod {pod.name} on {pod.node.name}.\n"


def start(kind: str, pod, timeout: float = 10):
    """Start the server in the pod; returns the daemon once its page can be had from inside the pod."""
    _, conf, argv = SERVERS[kind]
    directory = f"/run/lab/{pod.record['netns']}"
    node = pod.node
    node.write(f"{directory}/www/index.html", page(kind, pod))
    node.write(f"{directory}/conf", conf.format(dir=directory, name=pod.name))
    daemon = pod.daemon([word.format(dir=directory) for word in argv], f"{pod.record['netns']}-{kind}")
    loopback = "[::1]" if ":" in pod.ip else "127.0.0.1"

    def answers():
        if not daemon.running:
            raise wait.GiveUp("it ended")
        return pod.http(f"http://{loopback}/")[1] == page(kind, pod)
    wait.until(answers, f"{pod.name}: {kind} answers", timeout, detail=lambda: wait.tail(daemon.log_path))
    return daemon
