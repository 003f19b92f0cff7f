// SPDX-License-Identifier: Apache-2.0

// etcd of the generation that this Kubernetes is made for. Debian 12's 3.4 serves it too, but without streaming lists.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
