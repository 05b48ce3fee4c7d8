"""The doctor's words in Russian. What is not in the table is shown as it is: English is better than silence.

Keys are the English texts, with `{}` where something varies; it is put into the Russian text in the same order, or by
`{1}`, `{0}` in another. Of several that fit, the first is taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from msgspec.structs import replace

from bridge.check.finding import Finding

_PLACES = {
    "settings: {}": "настройки: {}",
    "settings": "настройки",
    "data directory": "каталог данных",
    "log directory": "каталог журналов",
    "secret key": "секретный ключ",
    "database: tables": "база данных: таблицы",
    "database": "база данных",
    "configuration": "конфигурация",
    "deliveries {}": "доставки {}",
    "PBX {}: login": "АТС {}: вход",
    "PBX {}: version": "АТС {}: версия",
    "PBX {}: clock": "АТС {}: часы",
    "PBX {}: events": "АТС {}: события",
    "PBX {}: write class {}": "АТС {}: класс записи {}",
    "PBX {}: read class {}": "АТС {}: класс чтения {}",
    "PBX {}: context {}": "АТС {}: контекст {}",
    "PBX {}": "АТС {}",
    "PBX": "АТС",
}

_SENTENCES = {
    # settings, directories
    "They are valid.": "Все верны.",
    "Correct it.": "Исправьте.",
    "It is absent: CRMs cannot call back, recordings have no address.": (
        "Не задан: CRM не сможет обратиться к нам, у записей нет адреса."
    ),
    "Set it to the https address under which the outside world reaches this service.": (
        "Укажите https-адрес, по которому сервис доступен снаружи."
    ),
    "It is on: calls are neither stored nor told to CRMs.": "Включён: звонки не сохраняются и CRM о них не узнают.",
    "Remove it to work for real.": "Уберите его для настоящей работы.",
    "Selectel is closing its addresses under selcdn.ru.": "Selectel закрывает адреса в selcdn.ru.",
    "Use the pool's own, such as https://s3.ru-1.storage.selcloud.ru, with S3_REGION=ru-1.": (
        "Возьмите адрес пула, например https://s3.ru-1.storage.selcloud.ru, и S3_REGION=ru-1."
    ),
    "It is absent, and is part of every signature.": "Не задан, а он входит в каждую подпись.",
    "Name the bucket's region; for Selectel it is the pool, such as ru-1.": (
        "Укажите регион бакета; у Selectel это пул, например ru-1."
    ),
    "{} cannot be written to.": "В {} нельзя писать.",
    "{} cannot be read.": "{} нельзя прочитать.",
    "Let the service's user own it.": "Сделайте владельцем пользователя, под которым работает сервис.",
    "{} has {} MB free.": "{}: свободно {} МБ.",
    "Make room: a full disk stops the database.": "Освободите место: с полным диском база остановится.",
    # database
    "There is none yet: the first `serve` or `apply` makes it in the data directory.": (
        "Её ещё нет: первый `serve` или `apply` создаст её в каталоге данных."
    ),
    "Start it, or correct BRIDGE_DATABASE_URL.": "Запустите её или исправьте BRIDGE_DATABASE_URL.",
    "The server at {} has no such database: create it, or correct BRIDGE_DATABASE_URL.": (
        "На сервере {} нет такой базы: создайте её или исправьте BRIDGE_DATABASE_URL."
    ),
    "The server at {} refused the user or the password of BRIDGE_DATABASE_URL.": (
        "Сервер {} не принял пользователя или пароль из BRIDGE_DATABASE_URL."
    ),
    "The server at {} did not answer in time.": "Сервер {} не ответил вовремя.",
    "No connection to the database at {}: {}": "Нет соединения с базой {}: {}",
    "The database is Postgres {}; the bridge needs {} or newer.": "Это Postgres {}, а нужен {} или новее.",
    "Use a newer one.": "Возьмите более новый.",
    "Postgres {} answers.": "Postgres {} отвечает.",
    "There are none yet: the first start makes them.": "Их ещё нет: создаст первый запуск.",
    "There are none yet, and this user may not make them.": "Их ещё нет, и этот пользователь не может их создать.",
    "Let the user of BRIDGE_DATABASE_URL own the database.": (
        "Сделайте пользователя из BRIDGE_DATABASE_URL владельцем базы."
    ),
    "{} migrations will be run at the next start.": "При следующем запуске будет выполнено миграций: {}.",
    "They are up to date.": "В порядке.",
    "The database is newer than this bridge: it has migration {}, this bridge knows them up to {}. Install the newer "
    "version, or restore the database from before.": (
        "База новее этой версии сервиса: в ней миграция {}, сервис знает их до {}. Поставьте новую версию "
        "или восстановите базу из прежней копии."
    ),
    "Migration {} is not what was run on this database: its file was changed or is of another version.": (
        "Миграция {} не та, что выполнялась на этой базе: файл изменён или из другой версии."
    ),
    "Run the version of the bridge it belongs to.": "Запустите ту версию сервиса, от которой эта база.",
    "Its disk is full.": "Её диск полон.",
    "Make room on the database's machine.": "Освободите место на машине базы.",
    "It cannot be written to: {}.": "В неё нельзя писать: {}.",
    "Use the primary, and a user who may.": "Укажите основной сервер и пользователя с правом записи.",
    "It does not answer in time.": "Не отвечает вовремя.",
    "It is not read in time.": "Не прочитана вовремя.",
    "See what keeps it busy.": "Посмотрите, чем она занята.",
    "What is configured cannot be read before the migrations have been run.": (
        "Конфигурацию не прочитать, пока не выполнены миграции."
    ),
    "Start the service, then check again.": "Запустите сервис и проверьте снова.",
    "Repair it as it says.": "Исправьте, как сказано.",
    "{} were given up: {} could not be told of them.": "Не доставлено: {}. {} о них не узнала.",
    "See them with `asterisk-bridge deliveries list`, send them again with `… deliveries resend`.": (
        "Посмотрите: `asterisk-bridge deliveries list`, отправьте снова: `… deliveries resend`."
    ),
    # recordings
    "The bucket {} at {} can be written and read.": "Контейнер {} в {} доступен для записи и чтения.",
    "The bucket {} at {} can be listed, but not written, read and emptied: {}": (
        "Контейнер {} в {} виден, но записать, прочесть и удалить в нём нельзя: {}"
    ),
    "Let its keys put, get and delete objects.": "Дайте ключам права на запись, чтение и удаление объектов.",
    "{} has no bucket {}.": "В {} нет контейнера {}.",
    "Make it, or correct S3_BUCKET_NAME.": "Создайте его или исправьте S3_BUCKET_NAME.",
    "{} refused the keys: {}.": "{} не принял ключи: {}.",
    "Compare S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY and S3_REGION.": (
        "Сверьте S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY и S3_REGION."
    ),
    "{} answered {}.": "{} ответил {}.",
    "Check S3_ENDPOINT and S3_REGION.": "Проверьте S3_ENDPOINT и S3_REGION.",
    "{} does not answer as S3 does.": "{} отвечает не так, как S3, или не отвечает.",
    "Check S3_ENDPOINT, and the network.": "Проверьте S3_ENDPOINT и сеть.",
    # PBXs
    "None is configured.": "Ни одной не настроено.",
    "Describe one in a file: `asterisk-bridge apply --help`.": "Опишите её в файле: `asterisk-bridge apply --help`.",
    "A secret was sealed with a key that is not in BRIDGE_SECRET_KEY.": (
        "Секрет зашифрован ключом, которого нет в BRIDGE_SECRET_KEY."
    ),
    "Add that key after the newest, or apply the secret again.": (
        "Добавьте тот ключ после нового или примените секрет заново."
    ),
    "See what keeps the PBX busy.": "Посмотрите, чем занята АТС.",
    "{} is logged in to Asterisk {}; it answers in {} ms.": "{} вошёл в Asterisk {}; ответ за {} мс.",
    "{} does not answer within {} s.": "{} не отвечает за {} с.",
    "{} cannot be reached: {}.": "{} недоступен: {}.",
    "The certificate of {} is not trusted: {}.": "Сертификату {} нет доверия: {}.",
    "{} does not speak TLS: {}.": "{} не говорит по TLS: {}.",
    "Something accepts connections there, but does not greet as Asterisk does.": (
        "Там кто-то принимает соединения, но здоровается не как Asterisk."
    ),
    "This Asterisk is too old (Manager Interface {}): {} to {} are supported.": (
        "Этот Asterisk слишком стар (Manager Interface {}): поддерживаются от {} до {}."
    ),
    "It offers no MD5 challenge, and the secret is not sent in clear: switch TLS on.": (
        "Он не предлагает MD5, а открытым текстом секрет не отправляется: включите TLS."
    ),
    "Asterisk refused the login of {} ({}): the name or secret is wrong, or its manager.conf does not permit this "
    "address.": "Asterisk не пустил {} ({}): неверно имя или секрет, либо manager.conf не разрешает этот адрес.",
    "Compare [{}] in manager.conf (secret, permit) with what the bridge has; `manager reload`.": (
        "Сравните [{}] в manager.conf (secret, permit) с тем, что у сервиса; `manager reload`."
    ),
    "Upgrade the PBX to Asterisk {} or newer.": "Обновите АТС до Asterisk {} или новее.",
    "Check enabled, bindaddr and port in manager.conf, and that no firewall is between.": (
        "Проверьте enabled, bindaddr и port в manager.conf и межсетевой экран."
    ),
    "Asterisk {} is newer than those known, {} to {}.": "Asterisk {} новее известных, от {} до {}.",
    "It is used as it is; look for a newer bridge.": "Работа продолжается; поищите новую версию сервиса.",
    "The PBX's clock is {} s ahead of this machine's.": "Часы АТС спешат на {} с.",
    "The PBX's clock is {} s behind this machine's.": "Часы АТС отстают на {} с.",
    "Keep both by NTP: times of calls are the PBX's.": "Настройте NTP на обеих: времена звонков берутся у АТС.",
    "Missing: calls cannot be started from the CRM.": "Нет: из CRM не позвонить.",
    "Missing: a live call cannot be redirected.": "Нет: идущий звонок не перевести.",
    "Missing: calls that ended while nobody watched stay open.": (
        "Нет: звонки, закончившиеся без наблюдения, останутся открытыми."
    ),
    "Add {} to {} of [{}] in manager.conf, then `manager reload`. An eventfilter there may keep them away, too.": (
        "Добавьте {} в {} у [{}] в manager.conf, затем `manager reload`. Их может скрывать и eventfilter."
    ),
    "Add {} to {} of [{}] in manager.conf, then `manager reload`.": (
        "Добавьте {} в {} у [{}] в manager.conf, затем `manager reload`."
    ),
    "More than the bridge needs: whoever has its secret could run any command of the console.": (
        "Больше, чем нужно: владелец секрета выполнит любую команду консоли."
    ),
    "More than the bridge needs: whoever has its secret could read every secret in Asterisk's configuration.": (
        "Больше, чем нужно: владелец секрета прочтёт все секреты в настройках Asterisk."
    ),
    "More than the bridge needs: whoever has its secret could run programs on the PBX.": (
        "Больше, чем нужно: владелец секрета запустит программы на АТС."
    ),
    "Take {} from write of [{}] in manager.conf.": "Уберите {} из write у [{}] в manager.conf.",
    "No FullyBooted after the login: restarts of Asterisk will look like lost links.": (
        "После входа нет FullyBooted: перезапуски Asterisk будут выглядеть как обрывы связи."
    ),
    "Events of calls arrive.": "События звонков приходят.",
    "Events of calls do not arrive: no call will be seen.": "События звонков не приходят: звонков не будет видно.",
    "Call detail records are off: times of calls are taken from events alone.": (
        "CDR выключены: времена звонков берутся только из событий."
    ),
    "Set enable = yes in cdr.conf and enabled = yes in cdr_manager.conf.": (
        "Задайте enable = yes в cdr.conf и enabled = yes в cdr_manager.conf."
    ),
    "{} does not come as events.": "{} не приходит в виде событий.",
    "Set enabled = yes in cdr_manager.conf.": "Задайте enabled = yes в cdr_manager.conf.",
    "Set enabled = yes under [manager] in cel.conf, if you want CEL.": (
        "Если нужен CEL, задайте enabled = yes в [manager] в cel.conf."
    ),
    "The dialplan has it: it can ask who should get a call.": "В dialplan он есть: можно спросить, кому звонок.",
    "The dialplan has no such context: callers are not put through to their own manager.": (
        "В dialplan нет такого контекста: клиентов не соединяют с их менеджером."
    ),
    "Include bridge-route.conf in extensions.conf, if smart redirect is wanted.": (
        "Если умная переадресация нужна, подключите bridge-route.conf в extensions.conf."
    ),
    "click_to_call_contexts names it, and the dialplan has no such context: clicks reach nobody.": (
        "Он указан в click_to_call_contexts, но в dialplan его нет: звонок из CRM ни до кого не дойдёт."
    ),
    "Name the context in which the office's phones dial outside.": (
        "Укажите контекст, в котором телефоны офиса звонят наружу."
    ),
    "It cannot be asked for with the bridge's rights.": "С правами сервиса его не узнать.",
    "It is {} ms.": "Он равен {} мс.",
    "Set writetimeout = 5000 in manager.conf, or a reader busy for 100 ms is cut off in the middle of an event.": (
        "Задайте writetimeout = 5000 в manager.conf, иначе занятого 100 мс читателя отключат посреди события."
    ),
    # ARI
    "Asterisk {} answers.": "Asterisk {} отвечает.",
    "{} did not answer in time.": "{} не ответил вовремя.",
    "Compare the user in ari.conf with what the bridge has.": "Сравните пользователя в ari.conf с тем, что у сервиса.",
    "Set enabled = yes in ari.conf, and mind the path: it ends with /ari.": (
        "Задайте enabled = yes в ari.conf и проверьте путь: он кончается на /ari."
    ),
    "Check enabled, bindaddr and bindport in http.conf, and that no firewall is between.": (
        "Проверьте enabled, bindaddr и bindport в http.conf и межсетевой экран."
    ),
    # CRMs
    "It is switched off.": "Выключена.",
    "It is switched on and has no product.": "Включена, но ни один продукт не указан.",
    "Name its api_key and api_salt in the apply file.": "Укажите его api_key и api_salt в файле для apply.",
    "Correct what it refused, wait, and check again.": ("Исправьте то, в чём отказано, подождите и проверьте ещё раз."),
    "Compare api_key and api_salt with the cabinet. Wait for two minutes before the next check.": (
        "Сверьте api_key и api_salt с личным кабинетом. До следующей проверки подождите две минуты."
    ),
    "Check MANGO_API_URL, and that this machine reaches it by TLS 1.2.": (
        "Проверьте MANGO_API_URL и доступность этого адреса с этой машины по TLS 1.2."
    ),
    "Mango Office accepts key and salt.": "Mango Office принимает ключ и соль.",
    "Correct it in the apply file.": "Исправьте в файле и примените его.",
    "Check the domain, and that this machine reaches it. Deliveries wait for 72 hours meanwhile.": (
        "Проверьте домен и доступ к нему с этой машины. Доставки подождут 72 часа."
    ),
    "Check the domain and the API key.": "Проверьте домен и ключ API.",
    "The API key lacks {}.": "У ключа API нет прав: {}.",
    "Give the key these rights in RetailCRM's settings of API keys.": (
        "Дайте их ключу в настройках ключей API в RetailCRM."
    ),
    "{} accepts the key, and it has the rights that are needed.": "{} принимает ключ, и прав у него достаточно.",
    "no answer within {} s": "нет ответа за {} с",
    "The examination failed: {}.": "Проверка не удалась: {}.",
    "Please report this.": "Сообщите об этом разработчикам.",
}


def wanted(env: Mapping[str, str]) -> bool:
    """As the standard library's gettext decides: LANGUAGE, LC_ALL, LC_MESSAGES, LANG; the first that is set."""
    names = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")
    return next((env[name] for name in names if env.get(name)), "").startswith("ru")


def translated(finding: Finding) -> Finding:
    return replace(
        finding,
        place=_in_russian(finding.place, _PLACES),
        said=_in_russian(finding.said, _SENTENCES),
        advice=_in_russian(finding.advice, _SENTENCES),
    )


def knows(text: str) -> bool:
    return not text or any(_pattern(english).fullmatch(text) for english in (*_SENTENCES, *_PLACES))


def _in_russian(text: str, table: Mapping[str, str]) -> str:
    for english, russian in table.items():
        if match := _pattern(english).fullmatch(text):
            return russian.format(*match.groups())
    return text


@cache
def _pattern(english: str) -> re.Pattern[str]:
    return re.compile("(.+?)".join(map(re.escape, english.split("{}"))), re.DOTALL)
