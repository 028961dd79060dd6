ssh-keygen -f /home/vagrant/.ssh/id_rsa -N ""
SSH_KEY="$(cat ~/.ssh/id_rsa.pub)"
IGNITION_CONFIG=$(cat << EOF | base64 -w0; echo
{
  "ignition" : {
    "config" : {},
    "timeouts" : {},
    "version" : "2.1.0"
  },
  "networkd" : {},
  "passwd" : {
    "users" : [
      {
        "name" : "core",
        "sshAuthorizedKeys" : [
          "$SSH_KEY"
        ]
      }
    ]
  },
  "storage" : {},
  "systemd" : {}
}
EOF
)
ID="ce2e62ed-826f-4485-a39f-a82bb74338e2"
MAC="08:00:27:00:00:01"
cat << EOF > hardware-data.json
{
  "id": "$ID",
  "metadata": {
    "facility": {
      "facility_code": "onprem"
    },
    "instance": {},
    "state": ""
  },
  "network": {
    "interfaces": [
      {
        "dhcp": {
          "arch": "x86_64",
          "ip": {
            "address": "192.168.1.5",
            "gateway": "192.168.1.1",
            "netmask": "255.255.255.248"
          },
          "mac": "$MAC",
          "uefi": false
        },
        "netboot": {
          "allow_pxe": true,
          "allow_workflow": true
        }
      }
    ]
  }
}
EOF
docker exec -i deploy_tink-cli_1 tink hardware push < ./hardware-data.json
cat << EOF > ./flatcar-template.yaml.tmpl
version: '0.1'
name: flatcar-install
global_timeout: 1800
tasks:
  - name: "flatcar-install"
    worker: "{{.machine1}}"
    volumes:
      - /dev:/dev # Needed for accessing the disk so that we can install Flatcar on it.
      - /statedir:/statedir # Needed for passing the Ignition config JSON and running flatcar-install.
    actions:
      - name: "dump-ignition"
        image: flatcar-install
        command:
          - sh
          - -c
          - echo '$IGNITION_CONFIG' | base64 -d > /statedir/ignition.json # Decode Ignition config to a file.
      - name: "flatcar-install"
        image: flatcar-install
        command:
          - /usr/local/bin/flatcar-install
          - -s # Install to smallest disk.
          - -i
          - /statedir/ignition.json
EOF
docker exec -i deploy_tink-cli_1 tink template create --name flatcar-install < ./flatcar-template.yaml.tmpl
TEMPLATE_ID="aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
docker exec -i deploy_tink-cli_1 tink workflow create -t $TEMPLATE_ID -r "{\"machine1\": \"$MAC\"}"
